"""A module for `python_child` to start: runs its first argument as code, as `python -c` does."""

import sys

if __name__ == "__main__":
    exec(sys.argv[1], {"__name__": "__main__", "arguments": sys.argv[2:]})
