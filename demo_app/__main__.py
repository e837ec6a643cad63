"""`python -m edgekit.demo_app BUNDLES`: the demo without the `edgekit` command."""

import sys
from pathlib import Path

from edgekit.safe_path import leave_out_current_folder


def main() -> None:
    """What it needs is imported only when the current folder is no place to find it in."""
    leave_out_current_folder()
    import argparse

    from edgekit.edge_runtime.errors import EdgekitError
    from edgekit.edge_runtime.worker.policy import Policy

    from .launch import launch

    parser = argparse.ArgumentParser(prog="python -m edgekit.demo_app", description="Compare two bundles in a browser.")
    parser.add_argument("bundles", type=Path, nargs="?", default=Path("bundles"), help="the folder of bundles to show")
    parser.add_argument("--port", type=int, help="default: a free one")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--key", type=Path, help="a public key (PEM): show only bundles that carry its signature")
    parser.add_argument("--require-signature", action="store_true", help="refuse to start without --key")
    arguments = parser.parse_args()
    try:
        policy = Policy.asked(allow=(), key=arguments.key, require_signature=arguments.require_signature)
        launch(arguments.bundles, port=arguments.port, open_browser=not arguments.no_browser, key=policy.key)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
