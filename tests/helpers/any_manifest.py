"""Any manifest and any attestation that the formats allow, for property tests: every field drawn, every rule kept."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from edgekit.edge_runtime.bundle import contract, status
from edgekit.edge_runtime.bundle.attestation import Attestation, Device, OutputResult
from edgekit.edge_runtime.bundle.manifest import (
    Artifact,
    BatchRange,
    EngineRun,
    Floor,
    Golden,
    ImagePreprocessing,
    Manifest,
    Metric,
    Origin,
    OutputSpec,
    Program,
    SamplesOrigin,
    StageResult,
    Suppression,
    TensorSpec,
    Verdict,
    WeightsOrigin,
)

LETTERS = string.ascii_letters + string.digits
# Everything that UTF-8 can say: control characters, quotes, line ends of other systems, what lies outside the BMP.
TEXT = st.text(max_size=12) | st.sampled_from(['"', "\\", "\n", "\r", "\t", "\x7f", "\u2028", "\x85", "😀", "[", "}"])
NAME = st.builds(str.__add__, st.sampled_from(LETTERS), st.text(LETTERS + "._-", max_size=12))
TENSOR = st.builds(str.__add__, st.sampled_from(string.ascii_letters + "_"), st.text(LETTERS + "_.:/-", max_size=12))
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
SHARE, POSITIVE = st.floats(0, 1), st.floats(0, 1e300, exclude_min=True)
SIZE, SIDE = st.integers(0, 1 << 30), st.integers(1, 1 << 24)
HASH = st.text("0123456789abcdef", min_size=64, max_size=64)
TEXTS = st.dictionaries(TEXT, TEXT, max_size=3)
COUNT = st.integers(0, 1 << 30)


def literals(hint: object) -> st.SearchStrategy[str]:
    return st.sampled_from(hint.__args__)


@st.composite
def pictures(draw: st.DrawFn) -> ImagePreprocessing:
    mode, is_float = draw(st.sampled_from(["L", "RGB"])), draw(st.booleans())
    height, width = draw(st.integers(1, 8192)), draw(st.integers(1, 8192))
    channels = (1 if mode == "L" else 3) if is_float else 0
    return ImagePreprocessing(
        kind="image",
        mode=mode,
        height=height,
        width=width,
        resize=draw(st.sampled_from(["stretch", "resize_crop", "resize_center_crop"])),
        resize_to=draw(st.integers(max(height, width), 8192)),
        interpolation=draw(st.sampled_from(["bilinear", "bicubic", "nearest"])),
        in_graph=tuple(draw(st.lists(TEXT, max_size=2))),
        expects=draw(TEXT),
        layout="NCHW" if is_float else "NHWC",
        dtype="float32" if is_float else "uint8",
        mean=tuple(draw(FLOAT) for _ in range(channels)),
        std=tuple(draw(POSITIVE) for _ in range(channels)),
    )


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    samples, unlabelled = draw(COUNT), draw(COUNT)
    flips = draw(st.integers(0, samples + unlabelled))
    low, loss, high = sorted(draw(st.tuples(FLOAT, FLOAT, FLOAT)))
    lost = draw(st.integers(0, min(samples, flips)))
    state = draw(st.sampled_from(["refused", "undecided", "consistent", "unverified", "verified"]))
    proof = ["hits", "bootstrap"]
    basis = draw(st.sampled_from(proof if state == "verified" else [*proof, "value", "answers", "broken", "nothing"]))
    budget = draw(st.floats(0, 1e300))
    if state == "verified":
        low, loss, high = (min(value, budget) for value in (low, loss, high))
    return Verdict(
        status=state,
        basis=basis,
        metric=draw(TEXT),
        higher_is_better=draw(st.booleans()),
        float_value=draw(FLOAT),
        value=draw(FLOAT),
        samples=samples,
        groups=draw(st.integers(0, samples)),
        loss=loss,
        low=low,
        high=high,
        budget=budget,
        flips=flips,
        lost=lost,
        won=draw(st.integers(0, min(samples, flips) - lost)),
        unlabelled=unlabelled,
        needed=draw(COUNT),
        needed_unlabelled=draw(COUNT),
        helps=draw(st.sampled_from(["", "labels", "pictures"])),
        reason=draw(TEXT),
    )


@st.composite
def tensors(draw: st.DrawFn, names: list[str], batch: BatchRange | None, rows: int) -> list[TensorSpec]:
    shapes = st.lists(SIDE, min_size=1, max_size=16)
    found = []
    for name in names:
        shape = draw(shapes)
        shape[0] = rows
        found.append(TensorSpec(name=name, dtype=draw(literals(contract.Dtype)), shape=tuple(shape), batch=batch))
    return found


@st.composite
def programs(draw: st.DrawFn, name: str, files: list[str], picture: ImagePreprocessing | None) -> Program:
    least = draw(st.integers(1, 100))
    batch = draw(st.none() | st.builds(BatchRange, min=st.just(least), max=st.integers(least, 1 << 24)))
    rows = least if batch else 1
    names = st.lists(TENSOR, min_size=1, max_size=3, unique=True)
    inputs = draw(tensors(draw(names), batch, rows))
    if picture:
        shape = (rows, *picture.shape[1:])
        inputs[0] = TensorSpec(name=inputs[0].name, dtype=picture.dtype, shape=shape, batch=batch)
    outputs = [OutputSpec.of(spec, draw(literals(contract.Holds))) for spec in draw(tensors(draw(names), batch, rows))]
    floors = st.builds(
        Floor, sqnr_db=st.floats(0, 200), agreement=st.none() | SHARE, max_abs=st.none() | st.floats(0, 1e300)
    )
    runs = st.builds(
        EngineRun,
        name=NAME,
        version=TEXT,
        precision=st.sampled_from(["float32", "float16", "bfloat16"]),
        verdict=st.none() | verdicts(),
    )
    return Program(
        name=name,
        artifact=Artifact(file=files[0], format=draw(TEXT), bytes=draw(SIZE), sha256=draw(HASH)),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        golden=Golden(
            file=files[1],
            bytes=draw(SIZE),
            sha256=draw(HASH),
            samples=draw(st.integers(1, 1 << 40)),
            replay="by_output",
            floors={spec.name: draw(floors) for spec in outputs},
        ),
        engines=tuple(draw(st.lists(runs, max_size=2, unique_by=lambda run: run.key.lower()))),
        requires=draw(st.dictionaries(NAME, TEXT, max_size=2)),
        features=draw(TEXTS),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    picture, state, judged = draw(st.none() | pictures()), draw(literals(status.Status)), draw(st.none() | verdicts())
    task = draw(TEXT | st.just("detection"))
    suppression = st.builds(
        Suppression, score_threshold=SHARE, iou_threshold=SHARE, max_detections=st.integers(1, 10_000)
    )
    held = status.STATUSES[state].held
    if held and judged and judged.status != state:
        judged = None
    entry = st.text(LETTERS + "_", min_size=1, max_size=8).filter(lambda name: not name[0].isdigit())
    names = draw(st.lists(entry, min_size=1, max_size=3, unique_by=str.lower))
    taken = {"manifest.json", "model.sig"}
    wanted = 2 * len(names)
    files = draw(
        st.lists(NAME.filter(lambda n: n.lower() not in taken), min_size=wanted, max_size=wanted, unique_by=str.lower)
    )
    metrics = st.builds(
        Metric, name=TEXT, value=FLOAT, low=FLOAT, high=FLOAT, samples=COUNT, float_value=FLOAT, agreement=SHARE
    )
    stages = st.builds(
        StageResult,
        stage=TEXT,
        compared_with=TEXT,
        max_abs=st.floats(0, 1e300),
        relative=st.floats(0, 1e300),
        sqnr_db=st.floats(-200, 200),
        agreement=SHARE,
        held_to=TEXT,
        passed=st.just(True) if held else st.booleans(),
        program=TEXT,
        output=TEXT,
    )
    licence = st.none() | TEXT
    origin = st.builds(
        Origin,
        weights=st.builds(WeightsOrigin, source=TEXT, licence=licence),
        golden=st.builds(SamplesOrigin, source=TEXT, licence=licence, may_travel=st.none() | st.booleans()),
    )
    return Manifest(
        format_version=2,
        name=draw(NAME),
        model=draw(TEXT),
        task=task,
        recipe=draw(TEXT),
        exporter=draw(TEXT),
        status=state,
        verdict=judged,
        programs=tuple(
            draw(programs(name, files[2 * i : 2 * i + 2], picture if i == 0 else None)) for i, name in enumerate(names)
        ),
        preprocessing=picture,
        labels=tuple(draw(st.lists(TEXT, max_size=4))),
        metrics=tuple(draw(st.lists(metrics, max_size=2))),
        stages=tuple(draw(st.lists(stages, max_size=2))),
        origin=draw(origin),
        tools=draw(TEXTS),
        provenance=draw(TEXTS),
        suppression=draw(suppression) if task == "detection" else None,
    )


@st.composite
def attestations(draw: st.DrawFn) -> Attestation:
    results = st.builds(
        OutputResult,
        program=st.sampled_from(["main", "encoder"]),
        output=st.just("") | TENSOR,
        engine=TEXT,
        samples=st.integers(1, 1 << 30),
        sqnr_db=st.floats(-200, 200),
        agreement=SHARE,
        max_abs=st.floats(0, 1e300),
        max_abs_since_packed=st.none() | FLOAT,
        passed=st.booleans(),
    )
    found = draw(st.lists(results, min_size=1, max_size=3))
    return Attestation(
        attestation_version=1,
        bundle=draw(NAME),
        manifest_sha256=draw(HASH),
        when=draw(st.datetimes()).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20),
        runtime=draw(TEXT),
        device=Device(processor=draw(TEXT), system=draw(TEXT), num_threads=draw(st.integers(1, 65_536))),
        results=tuple(found),
        passed=all(result.passed for result in found),
    )
