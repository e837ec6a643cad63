"""`verify --strict`: a bundle that passes its replay and is not verified is a failure."""

import pytest
from tiny_bundle import make_bundle
from typer.testing import CliRunner

from edgekit.cli import app


@pytest.mark.parametrize(("status", "strict", "expected"), [
    ("verified", True, 0), ("undecided", False, 0), ("undecided", True, 1), ("consistent", True, 1),
])  # fmt: skip
def test_only_a_verified_bundle_is_enough(tmp_path, status, strict, expected):
    bundle = make_bundle(tmp_path, name="quarters", status=status)
    done = CliRunner().invoke(app, ["verify", str(bundle), *(["--strict"] if strict else [])])
    assert done.exit_code == expected, done.output
    assert "✓" in done.output  # the replay itself passed
