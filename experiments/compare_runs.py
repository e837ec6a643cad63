"""`python -m experiments.compare_runs MODEL RUN…`: finished runs compared with the book's figures, as one JSON file.

Trains nothing: make the runs first, one for each seed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.program import program
from edgekit.train.checkpoint import write_file
from edgekit.train.registry import book_model
from edgekit.train.reproduction.compare import compare


@program()
def main() -> None:
    """Writes the comparison to --out."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare_runs", description="The book's figures and ours."
    )
    parser.add_argument("model", help="a model of train/registry.py")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs, one for each seed")
    parser.add_argument("--published", type=Path, help="the book's own weights for this model")
    parser.add_argument("--out", type=Path, help="default: results/MODEL.json")
    options = parser.parse_args()
    comparison = compare(book_model(options.model), options.runs, published=options.published)
    out = options.out or Path("results") / f"{options.model}.json"
    write_file(out, canonical_json(comparison))
    print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(main())
