"""AOTInductor: machine code that answers as the module does, runs only where it was compiled for, and when allowed."""

import platform
import re
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pair_model import answers, pair_arrays, pair_model, unproven_bundle

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.engines import load
from edgekit.edge_runtime.errors import BundleError, EngineError, InputError, MissingDependency
from edgekit.optimize.combinations import combinations
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.exporters.aot import _check_compiler
from edgekit.optimize.user_model.request import Request


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Compiled once, for batches of 1 to 8: half a minute."""
    return Bundle.open(unproven_bundle(pair_model(max_batch=8), "aot", tmp_path_factory.mktemp("aot") / "aot"))


@pytest.fixture(scope="module")
def engine(bundle):
    with load(bundle, allow=("aot",)) as engine:
        yield engine


def test_any_batch_within_the_bounds_gives_each_rows_own_answer(engine):
    for rows in (1, 8, 3, 1):
        arrays = pair_arrays(rows, seed=rows)
        found, wanted = engine.run(arrays), answers(pair_model(), arrays)
        assert np.abs(found["probabilities"] - wanted["probabilities"]).max() < 1e-6
        assert np.array_equal(found["odd"], wanted["odd"])
    with pytest.raises(InputError, match="has a batch of 9; this bundle takes 1 to 8"):
        engine.run(pair_arrays(9))


def test_eight_threads_get_their_own_answers_to_the_last_bit(engine):
    inputs = [pair_arrays(1 + number, seed=number) for number in range(8)]
    wanted, same = [engine.run(arrays)["probabilities"] for arrays in inputs], []

    def work(number):
        same.extend(np.array_equal(engine.run(inputs[number])["probabilities"], wanted[number]) for _ in range(50))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(same), sum(same)) == (400, 400)


def test_the_number_of_threads_is_chosen_where_it_runs(bundle):
    before = torch.get_num_threads()
    for number in (2, 1):
        with load(bundle, num_threads=number, allow=("aot",)) as engine:
            assert (engine.num_threads, torch.get_num_threads()) == (number, number)
    torch.set_num_threads(before)


def test_machine_code_runs_only_when_asked_for_by_name(bundle):
    with pytest.raises(BundleError, match="has the format 'aot': loading it runs code from the file"):
        load(bundle)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "x86_64 avx2 avx1024f",
            "compiled for x86_64 avx2 avx1024f; this processor .* lacks avx1024f. Pack it again on",
        ),
        ("riscv64 v", r"compiled for riscv64 v; this processor \(\w+, .*\) lacks riscv64"),
        (None, "does not say for which processor .provenance.compiled_for is missing., so it is not run"),
    ],
)
def test_another_processor_is_refused_before_the_code_is_touched(bundle, target, said):
    provenance = {} if target is None else {"compiled_for": target}
    manifest = replace(bundle.manifest, provenance=provenance)
    with pytest.raises(BundleError, match=said):
        load(Bundle(Path("nowhere"), bundle.source, manifest, "", None), allow=("aot",))


def test_the_manifest_says_what_it_was_compiled_for(bundle):
    machine, *instructions = bundle.manifest.provenance["compiled_for"].split()
    assert machine == platform.machine()
    assert all(re.fullmatch(r"\w+", word) for word in instructions)
    assert bundle.manifest.tools["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_the_file_holds_no_folder_of_this_machine_and_no_sources(bundle):
    with zipfile.ZipFile(bundle.model_path) as archive:
        names = archive.namelist()
        held = b"".join(archive.read(name) for name in names)
    assert [name for name in names if name.endswith(".cpp")] == []
    assert str(Path(torch.__file__).parent.parent).encode() not in held
    assert b"torchinductor_" not in held


def test_a_damaged_package_is_an_error(bundle, tmp_path):
    (tmp_path / "model.pt2").write_bytes(bundle.model_path.read_bytes()[:20_000])
    with pytest.raises(EngineError, match="model.pt2 could not be loaded: "):
        load(Bundle(tmp_path, bundle.source, bundle.manifest, "", None), allow=("aot",))


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, "/nowhere/g++"))
    with pytest.raises(MissingDependency, match=r"torch found no C\+\+ compiler .*Install g\+\+ or set CXX"):
        _check_compiler()


def test_it_is_made_only_when_named():
    assert EXPORTERS["aot"].by_default is False
    assert {exporter.name for exporter, _ in combinations(Request(model="m"))} == {
        name for name, exporter in EXPORTERS.items() if exporter.by_default
    }
    assert [(e.name, r.name) for e, r in combinations(Request(model="m", exporters=("aot",)))] == [("aot", "fp32")]
