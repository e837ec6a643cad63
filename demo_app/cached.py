"""What visitors share and reruns keep: opened bundles, running workers, and their answers to golden samples."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import GoldenSet
from edgekit.edge_runtime.engines import RUNS_CODE
from edgekit.edge_runtime.worker.policy import Policy

from .compare import renamed
from .runner import Runner
from .shelf import Signature

MOST_WORKERS = 8  # each holds one model in memory


@st.cache_resource(show_spinner=False, max_entries=256, on_release=Bundle.close)
def open_bundle(path: Path, signature: Signature, key: str | None = None) -> Bundle:
    """A checked bundle. Its `signature` is part of the key, so that a bundle that was packed again is opened again.

    Args:
        key: the path of the public key that it must be signed for, if any.
    """
    # The shelf says which formats may run code; nothing is run here.
    return Policy(allow=RUNS_CODE, key=None if key is None else Path(key)).open(path)


def runner(bundle: Bundle) -> Runner:
    """The bundle's running worker, started if there is none."""
    return _runner(str(bundle.source), bundle.manifest.artifact.sha256, bundle)


@st.cache_resource(
    show_spinner="Starting the model …",
    max_entries=MOST_WORKERS,
    validate=lambda runner: runner.alive,  # one that crashed is replaced
    on_release=Runner.close,
)
def _runner(source: str, sha256: str, _bundle: Bundle) -> Runner:
    # The key leaves out the folder, since that of a .zip is temporary. The shelf offers only what is allowed.
    format = _bundle.manifest.artifact.format
    return Runner(_bundle, allow=(format,) if format in RUNS_CODE else ())


def golden(bundle: Bundle) -> GoldenSet:
    """The bundle's golden samples. All visitors share them, so nothing may write to them. Raises BundleError."""
    return _golden(str(bundle.source), bundle.manifest.golden.sha256, bundle)


@st.cache_resource(show_spinner=False, max_entries=16)
def _golden(source: str, sha256: str, _bundle: Bundle) -> GoldenSet:
    return _bundle.golden()


def golden_answers(bundle: Bundle, inputs: Arrays) -> Arrays:
    """The bundle's answers to golden inputs, (N, …) each."""
    manifest = bundle.manifest
    return _golden_answers(str(bundle.source), manifest.artifact.sha256, manifest.golden.sha256, bundle, inputs)


@st.cache_data(show_spinner="Running all golden samples …", max_entries=64)
def _golden_answers(source: str, artifact: str, golden: str, _bundle: Bundle, _inputs: Arrays) -> Arrays:
    return runner(_bundle).run(renamed(_inputs, _bundle.manifest))
