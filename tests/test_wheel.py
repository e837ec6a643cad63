"""What is installed: the wheel, built directly and by way of the sdist, and an editable install, each held to the tree.

Built with the setuptools at hand, so that no registry is asked. What is built is put on the path of an interpreter
that knows no other packages (`-S`).
"""

import email
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT, run_edgekit

import edgekit

PARTS = ("edge_runtime", "train", "optimize", "demo_app")
PRODUCT = {".py", ".json", ".cpp", ".hpp", ".txt", ".html", ".css", ".js", ".zip", ".toml", ".typed"}
NO_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "bundles", "runs", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
BUILT = ("wheel", "by way of the sdist", "editable")


def run(*command, cwd, **environment):
    # Whoever runs the tests may have the checkout on the path; what is built here must be found without it.
    clean = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"} | environment
    return subprocess.run(list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True)


def build(hook: str, source: Path, out: Path) -> Path:
    """Calls a hook of the build backend, as pip and uv do."""
    done = run(sys.executable, "-c", BUILD, hook, out, cwd=source)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


@dataclass(frozen=True, kw_only=True)
class Built:
    """A copy of the checkout, and the files that were built of it."""

    source: Path
    sdist: Path
    wheels: dict[str, Path]
    """Of each of `BUILT`."""

    def files(self, name: str) -> set[str]:
        """The files of the wheel `name`, without its metadata."""
        with zipfile.ZipFile(self.wheels[name]) as wheel:
            return {path for path in wheel.namelist() if ".dist-info/" not in path}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=NO_SOURCE)
    # As an earlier build left it, before a module was moved.
    (source / "build" / "lib" / "edgekit" / "train").mkdir(parents=True)
    (source / "build" / "lib" / "edgekit" / "train" / "moved.py").write_text("")
    for out in ("direct", "sdist", "indirect", "editable"):
        (folder / out).mkdir()
    direct = build("build_wheel", source, folder / "direct")
    sdist = build("build_sdist", source, folder / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    indirect = build("build_wheel", next((folder / "unpacked").iterdir()), folder / "indirect")
    editable = build("build_editable", source, folder / "editable")
    wheels = dict(zip(BUILT, (direct, indirect, editable), strict=True))
    return Built(source=source, sdist=sdist, wheels=wheels)


def product() -> set[str]:
    """Every file of the five folders, as the wheel names it."""
    found = set()
    for folder in ("edgekit", *PARTS):
        inside = "" if folder == "edgekit" else "edgekit/"
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        found |= {inside + path.relative_to(ROOT).as_posix() for path in files}
    return found


@pytest.mark.parametrize("name", BUILT[:2])
def test_the_wheel_holds_the_product_and_nothing_else(built, name):
    assert built.files(name) == product()


def test_the_product_has_no_kind_of_file_that_nobody_thought_of():
    """A new kind has to be named in pyproject.toml, and here."""
    assert {Path(name).suffix for name in product()} == PRODUCT
    named = ("edge_runtime/bundle/manifest_schema.json", "edge_runtime/doctor/models/onnx.zip", "py.typed")
    assert {f"edgekit/{name}" for name in (*named, "demo_app/.streamlit/config.toml")} < product()


def test_the_sdist_holds_what_builds_the_wheel_and_nothing_else(built):
    with tarfile.open(built.sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
    beside = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "setup.py"}
    sources = {name if (ROOT / name).exists() else name.removeprefix("edgekit/") for name in product()}
    assert {name for name in files if not name.startswith("edgekit.egg-info/")} == sources | beside


def test_the_version_is_that_of_the_metadata(built):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with zipfile.ZipFile(built.wheels["wheel"]) as wheel:
        metadata = email.message_from_bytes(wheel.read(f"edgekit-{declared}.dist-info/METADATA"))
    assert metadata["Version"] == declared
    assert edgekit.__version__ == declared
    assert run_edgekit("--version").stdout == f"edgekit {declared}\n"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A site folder in which one build is installed, and nothing else."""

    site: Path
    root: Path
    """The checkout that it was built of."""
    home: Path
    """Where its modules lie."""

    def run(self, code: str, cwd: Path) -> subprocess.CompletedProcess:
        # addsitedir runs the .pth file of an editable install, as an interpreter does at its start.
        return run(sys.executable, "-S", "-c", f"import site; site.addsitedir({str(self.site)!r})\n{code}", cwd=cwd)


@pytest.fixture(scope="module", params=BUILT)
def installed(request, built, tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(built.wheels[request.param]) as wheel:
        wheel.extractall(site)
    return Installed(site=site, root=built.source, home=built.source if request.param == "editable" else site)


def test_a_folder_of_the_users_does_not_find_ours(installed, tmp_path):
    for part in ("train", "optimize", "demo_app", "edge_runtime"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "mine.py").write_text("MINE = 1")
    done = installed.run("import train.mine; print(train.mine.MINE); import train.registry", tmp_path)
    assert done.stdout == "1\n"
    assert "ModuleNotFoundError: No module named 'train.registry'" in done.stderr
    for part, ours in (("optimize", "pack"), ("demo_app", "app"), ("edge_runtime", "errors")):
        done = installed.run(f"import {part}.mine, {part}.{ours}", tmp_path)
        assert f"No module named '{part}.{ours}'" in done.stderr


def test_edgekit_is_the_only_name(installed, tmp_path):
    code = """
import importlib.util, sys, edgekit, edgekit.edge_runtime.errors
others = ("train", "optimize", "demo_app", "edge_runtime", "experiments", "tests", "setup")
print([name for name in others if importlib.util.find_spec(name)])
print(edgekit.__file__, edgekit.edge_runtime.errors.__file__, edgekit.__version__, *sys.path, sep="\\n")
"""
    done = installed.run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    names, package, errors, version, *path = done.stdout.splitlines()
    assert names == "[]"
    assert Path(package).is_relative_to(installed.home)
    assert Path(errors).is_relative_to(installed.home)
    assert version == edgekit.__version__
    assert str(installed.root) not in path


def test_a_checkout_that_is_not_installed_knows_its_version(built, tmp_path):
    done = run(sys.executable, "-S", "-c", "import edgekit; print(edgekit.__version__)", cwd=tmp_path,
               PYTHONPATH=str(built.source))  # fmt: skip
    assert done.stdout == f"{edgekit.__version__}\n", done.stderr
