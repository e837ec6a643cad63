"""The apps for Linux: one folder with the runner, its libraries, its sources and the bundles."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from ...bundle.bundle import Bundle
from ...bundle.manifest import Manifest
from ...command_line import EDGEKIT
from ...errors import MissingDependency
from ...format import count_text
from ..device import AppRequest, Device
from . import libraries, toolchain
from .kernels import KERNELS, kernel_libraries

RUNNER = "edgekit-run"
BUNDLES = "bundles"
_CORE = ("executorch", "executorch_backend_xnnpack", "executorch_threadpool")
# The oldest C library that what Debian 12's compiler makes will start with.
_GLIBC = "2.34"


def _refuses(manifest: Manifest) -> str:
    if manifest.format_version != 2:
        return f"it is in format {manifest.format_version}, and the runner reads format 2. Pack it again"
    return ""


def _write(machine: str, name: str, request: AppRequest, folder: Path) -> list[str]:
    build = build_for(name, machine, request)
    pictures = any(bundle.manifest.preprocessing for bundle in request.bundles)
    compiles = toolchain.compiler(machine) is not None
    if compiles and pictures and toolchain.stb_folder() is None:
        raise MissingDependency(
            "the runner decodes pictures with stb_image.h, which is not here. Run: apt-get install libstb-dev, or set "
            "EDGEKIT_STB to its folder"
        )
    if compiles:
        shutil.copy(toolchain.built(build), folder / RUNNER)
        (folder / RUNNER).chmod(0o755)
    _copy_libraries(build, request, folder / "lib")
    (folder / "source").mkdir()
    for source in (*toolchain.HEADERS, "CMakeLists.txt", *build.sources):
        shutil.copyfile(toolchain.source_path(source), folder / "source" / source)
    for bundle in request.bundles:
        copy_bundle(bundle, folder / BUNDLES / bundle.name)
    (folder / "README.md").write_text(_readme(build, request), encoding="utf-8")
    first = request.bundles[0].name
    test = f"./{RUNNER} {BUNDLES}/{first} --self-test"
    if not compiles:
        return [f"apt-get install {toolchain.compiler_package(machine)} libstb-dev", "cd {folder}",
                toolchain.build_line(build), test]  # fmt: skip
    if libraries.native(machine):
        return ["cd {folder}", test]
    return ["scp -r {folder} HOST:app", f"ssh HOST 'cd app && {test}'",
            f"{EDGEKIT} benchmark {{folder}}/{BUNDLES}/{first} --on ssh:HOST"]  # fmt: skip


def build_for(device: str, machine: str, request: AppRequest) -> toolchain.Build:
    """The kind of runner that these bundles need. Raises MissingDependency, BundleError."""
    programs = [bundle.model_path for bundle in request.bundles if bundle.manifest.artifact.format == "executorch"]
    if not programs:
        return toolchain.Build(device=device, machine=machine, executorch=None)
    runtime = libraries.executorch(machine)
    kernels: tuple[str, ...] = KERNELS
    own = False
    if request.minimal:
        kernels, own = kernel_libraries(programs, runtime.folder / "lib")
    return toolchain.Build(
        device=device, machine=machine, executorch=runtime, libraries=(*_CORE, *kernels), own_kernel=own
    )


def copy_bundle(bundle: Bundle, target: Path) -> None:
    """The bundle's files, unchanged, as a folder."""
    target.mkdir(parents=True)
    for path in bundle.folder.iterdir():
        shutil.copyfile(path, target / path.name)


def _copy_libraries(build: toolchain.Build, request: AppRequest, folder: Path) -> None:
    folder.mkdir()
    for name in build.libraries:
        assert build.executorch
        shutil.copyfile(build.executorch.folder / "lib" / f"lib{name}.so", folder / f"lib{name}.so")
    if any(bundle.manifest.artifact.format == "onnx" for bundle in request.bundles):
        runtime = libraries.onnxruntime(build.machine)
        shutil.copyfile(libraries.onnxruntime_library(runtime), folder / "libonnxruntime.so.1")


def _readme(build: toolchain.Build, request: AppRequest) -> str:
    first = request.bundles[0]
    picture = first.manifest.preprocessing
    takes = f"PICTURE                 # {picture.expects}" if picture else "ARRAY.npy"
    made = f"executorch {build.executorch.version}" if build.executorch else "no ExecuTorch"
    bundles = count_text(len(request.bundles), "bundle")
    return f"""# {request.title} for {build.device}

A runner in C++, the libraries that it loads (`lib/`), its sources (`source/`) and {bundles} (`{BUNDLES}/`). It needs
no Python and nothing to install: a 64-bit Linux on {build.machine} with glibc {_GLIBC} or newer and libstdc++, as
Debian 12, Raspberry Pi OS 12 and Ubuntu 22.04 have them.

```sh
./{RUNNER} {BUNDLES}/{first.name} --self-test
./{RUNNER} {BUNDLES}/{first.name} {takes}
./{RUNNER} {BUNDLES}/{first.name} --self-test --json > result.json
```

The first checks the SHA-256 of every file, replays the golden samples and times them. It prints `passed`, how close
the answers are to the float model's, and the median latency. The second prints the answer. The third writes the same
figures as JSON, which can be handed in. Whatever is wrong is one sentence, and the exit status is 1.

Pictures may be JPEG, PNG, GIF, BMP or PPM.

## Building it again

With g++ and stb_image.h (`apt-get install g++ libstb-dev`), E being the folder of an installed executorch package
({made}) for this processor, in this folder:

```sh
{toolchain.build_line(build)}
```

or, with CMake 3.28 or newer:

```sh
cmake -S source -B build -DCMAKE_PREFIX_PATH=$E -DEDGEKIT_WITH_EXECUTORCH={"ON" if build.executorch else "OFF"} \\
    -DEDGEKIT_MINIMAL={"ON" if build.own_kernel else "OFF"} -DEDGEKIT_DEVICE={build.device}
cmake --build build && cp build/{RUNNER} .
```
"""


def _device(name: str, machine: str, description: str) -> Device:
    return Device(
        name=name,
        description=description,
        formats=("executorch", "onnx"),
        exporters=("executorch_xnnpack", "onnx"),
        refuses=_refuses,
        write=partial(_write, machine, name),
        options=frozenset({"minimal"}),
    )


LINUX_X86 = _device("linux-x86", "x86_64", "a folder for Linux on a PC or server: runs without Python")
LINUX_ARM64 = _device("linux-arm64", "aarch64", "a folder for Linux on a 64-bit ARM board: runs without Python")
MACHINES = {"x86_64": LINUX_X86, "aarch64": LINUX_ARM64, "arm64": LINUX_ARM64}
"""By what `uname -m` says."""
