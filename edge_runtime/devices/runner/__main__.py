"""`python -m edgekit.edge_runtime.devices.runner ssh:HOST BUNDLE`: the self-test's JSON on standard output."""

from __future__ import annotations

import sys

from ...decode import canonical_json, to_plain
from ...errors import EdgekitError
from .remote import run_on


def main(words: list[str]) -> int:
    if len(words) != 2:
        sys.stderr.write("usage: python -m edgekit.edge_runtime.devices.runner ssh:HOST|adb:SERIAL BUNDLE\n")
        return 2
    try:
        result = run_on(words[0], words[1])
    except EdgekitError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    sys.stdout.buffer.write(canonical_json(to_plain(result)))
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
