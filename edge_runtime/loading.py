"""`load_engine`: loads a bundle into the engine that was asked for, also into the one that is fastest here."""

from __future__ import annotations

from collections.abc import Sequence

from . import engines
from .bundle.bundle import Bundle
from .engines import Engine, Precision


def load_engine(
    bundle: Bundle,
    *,
    engine: str | None = None,
    program: str | None = None,
    num_threads: int = 1,
    spin: bool = False,
    precision: Precision = "float32",
    allow: Sequence[str] = (),
    check_finite: bool = True,
) -> Engine:
    """Loads a bundle's model; the answer runs arrays.

    Args:
        engine: a package of the format's, such as "openvino". "auto" takes the fastest one that is installed and passes
            the golden replay, which the first time on a machine takes some seconds in other processes; the choice is
            kept. Without one, the first of the format that is installed: always the same, and nothing is measured.
        program, num_threads, spin, precision, allow, check_finite: as in `engines.load`.
    Raises:
        EngineError: "auto", and no engine passes; or as `engines.load`, whose other errors are raised too.
    """
    if engine == "auto":
        from .choice import choose  # starts processes, which a plain load never does

        engine = choose(bundle, program=program, num_threads=num_threads, spin=spin, allow=allow).engine
    return engines.load(
        bundle,
        engine=engine,
        program=program,
        num_threads=num_threads,
        spin=spin,
        precision=precision,
        allow=allow,
        check_finite=check_finite,
    )
