"""AOTInductor (`.pt2`): torch compiles the captured graph to machine code, with the C++ compiler of this machine.

The file runs where torch is of the same version and the processor has the same instructions; both are recorded. It is
native code, and takes a minute to make, so that it is made only when asked for by name.
"""

from __future__ import annotations

import logging
import platform
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.engines.aot import COMPILED_FOR, AotSession
from edgekit.edge_runtime.errors import MissingDependency
from edgekit.edge_runtime.files import write_atomically
from edgekit.edge_runtime.temporary import temporary_folder
from edgekit.optimize.deploy import DeployModel, run_module, run_session
from edgekit.optimize.recipes import Recipe

from ..capture import capture
from ..steps import begin
from .exporter import Exporter, Stage

_LOGGERS = ("torch.utils.flop_counter", "torch.utils.cpp_extension", "torch._inductor")
_CONFIG = {
    # The instruction sets that are recorded, and not whatever else this machine's processor has.
    "cpp.march": "",
    # Else the thread count of the machine that compiles is part of the code.
    "cpp.dynamic_threads": True,
    # Three quarters of the file would be the line numbers of generated code.
    "aot_inductor.enable_line_tables": False,
    # One model is compiled: preparing torch's headers for many takes longer than using them once.
    "aot_inductor.precompile_headers": False,
}


def export(model: DeployModel, recipe: Recipe, path: Path) -> Iterator[Stage]:
    """capture -> lower (compile)."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    _check_compiler()
    begin("capturing the graph")
    program = capture(model)
    captured = program.module()
    yield Stage(kind="capture", run=lambda arrays: run_module(model, captured, arrays))

    begin("compiling for this processor")
    _compile(program, path)
    yield Stage(kind="lower", run=lambda arrays: _run_package(model, path, arrays), notes={COMPILED_FOR: _target()})


def _compile(program: torch.export.ExportedProgram, path: Path) -> None:
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    with temporary_folder() as folder:
        made = folder / "model.pt2"
        aoti_compile_and_package(program, package_path=str(made), inductor_configs=_CONFIG)
        _without_paths(made, path, [str(Path(torch.__file__).parent.parent), cache_dir()])


def _without_paths(source: Path, target: Path, folders: list[str]) -> None:
    """Copies a package without the generated sources, which nothing runs, and without folders of this machine."""
    with zipfile.ZipFile(source) as old, write_atomically(target) as part, zipfile.ZipFile(part, "w") as new:
        for name in sorted(old.namelist()):
            raw = old.read(name)
            if name.endswith(".cpp"):
                continue
            for folder in map(str.encode, folders):
                raw = raw.replace(folder, b"." + b"/" * (len(folder) - 1))  # as long as before: code has offsets
            new.writestr(zipfile.ZipInfo(name), raw)  # a fixed date, so that equal content gives equal bytes


def _check_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise MissingDependency(
            f"the exporter 'aot' compiles the model here, and torch found no C++ compiler ({said[:120]}). "
            "Install g++ or set CXX to your compiler"
        ) from None


def _target() -> str:
    """This machine and the instruction sets torch compiles for here: "x86_64 avx512f avx512dq fma"."""
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    isa: Any = pick_vec_isa()
    wanted = (word.removeprefix("-m") for word in isa.build_arch_flags().split() if not word.startswith("-march"))
    return " ".join(dict.fromkeys((platform.machine(), *wanted)))


def _run_package(model: DeployModel, path: Path, arrays: Arrays) -> Arrays:
    return run_session(model, AotSession(path, torch.get_num_threads()), arrays)


AOT = Exporter(
    name="aot",
    format="aot",
    suffix=".pt2",
    summary="AOTInductor: machine code for this CPU",
    recipes=("fp32",),
    tools=("torch",),
    export=export,
    by_default=False,
)
