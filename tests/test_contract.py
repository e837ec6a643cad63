"""The contract of every model × exporter × recipe × engine: verified on real samples, its accuracy kept."""

import pytest

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.engines import installed_engines
from edgekit.optimize.deploy import deploy_book_model
from edgekit.optimize.events import StageChecked
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import FloatReference

PAIRS = [
    (e, r)
    for e in EXPORTERS.values()
    for r in RECIPES.values()
    if e.by_default and r.name in e.recipes and not r.after and not r.on_request
]


@pytest.fixture(scope="module")
def birds(data_root, tmp_path_factory):
    """The book's own published weights on its real data, packed every way; one export serves all checks below."""
    from edgekit.train.registry import book_model

    weights = data_root / "book" / "p1ch6" / "birds_vs_airplanes.pt"
    if not weights.exists() or not (data_root / "cifar-10-batches-py").exists():
        pytest.skip(f"CIFAR-10 and {weights.name} are not in {data_root}")
    model = deploy_book_model(book_model("birds_cnn"), weights)
    return model, FloatReference.of(model), tmp_path_factory.mktemp("birds")


def test_the_published_weights_give_the_published_accuracy(birds):
    assert birds[1].metric.value == pytest.approx(0.8915, abs=1e-9)
    assert birds[1].metric.samples == 2000


@pytest.mark.parametrize(("exporter", "recipe"), PAIRS, ids=lambda value: value.name)
def test_birds_cnn(birds, exporter, recipe):
    model, reference, out = birds
    events = []
    made = pack_bundle(model, exporter, recipe, out, reference=reference, other_engines=True, on_event=events.append)
    check(made.path, [event.result for event in events if isinstance(event, StageChecked)], recipe)


@pytest.mark.parametrize(
    ("exporter", "recipe"), [(e, r) for e, r in PAIRS if r.name != "fp16"], ids=lambda value: value.name
)
def test_digits_cnn(quickstart, exporter, recipe):
    folder = quickstart.bundle(f"{exporter.name}-{recipe.name}")
    check(folder, Bundle.open(folder).manifest.stages, recipe)


def check(folder, stages, recipe):
    manifest = Bundle.open(folder).manifest
    metric = manifest.metrics[0]
    assert manifest.status in (("verified",) if recipe.name in ("fp32",) else ("verified", "undecided"))
    names = [stage.stage for stage in stages]
    assert (names[0], names[-1]) == ("capture", "reload")
    assert ("quantize" in names) == (recipe.name != "fp32")
    assert all(s.passed for s in stages)
    assert metric.value >= 0.99 * metric.float_value
    assert metric.agreement >= (1.0 if recipe.name == "fp32" else 0.97)
    assert stages[-1].sqnr_db >= recipe.sqnr_floor_db
    assert [run.name for run in manifest.engines] == list(installed_engines(manifest.artifact.format))
    assert all(run.verdict.status == manifest.status for run in manifest.engines[1:])
