"""`python -m edgekit.demo_app BUNDLES`: the demo without the `edgekit` command."""

import sys
from pathlib import Path

from edgekit.safe_path import leave_out_current_folder


def main() -> None:
    """What it needs is imported only when the current folder is no place to find it in."""
    leave_out_current_folder()
    import argparse

    from edgekit.edge_runtime.errors import EdgekitError

    from .launch import launch

    parser = argparse.ArgumentParser(prog="python -m edgekit.demo_app", description="Compare two bundles in a browser.")
    parser.add_argument("bundles", type=Path, nargs="?", default=Path("bundles"), help="the folder of bundles to show")
    parser.add_argument("--port", type=int, help="default: a free one")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    arguments = parser.parse_args()
    try:
        launch(arguments.bundles, port=arguments.port, open_browser=not arguments.no_browser)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
