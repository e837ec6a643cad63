"""`python -m edgekit`, the same as `edgekit`."""

from . import main

main()
