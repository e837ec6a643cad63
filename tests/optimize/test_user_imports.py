"""A user's code finds its own modules, whatever else has their names; nobody else's import ever runs a file of theirs.

Each in a process of its own, since what is imported once stays imported.
"""

import os
import subprocess
import sys

import pytest
from conftest import ENVIRONMENT, ROOT

HOSTILE = "open({marker!r}, 'a').write(__name__ + ' '); raise SystemExit(__name__ + ' should not run')"
LIBRARY = """
import importlib, importlib.util, pickle
def there(name):
    try:
        exec(compile(f"import {name}", __file__, "exec"), {"__file__": __file__, "__name__": __name__})
        return True
    except ImportError:
        return importlib.util.find_spec(name) is not None
by_name, unpickled = importlib.import_module, pickle.loads
"""


@pytest.fixture
def place(tmp_path):
    """A user's folder with files as they are given, and a site-packages/ where libraries are."""

    def write(files, folder="user"):
        for name, text in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / folder

    write({"library.py": LIBRARY}, "site-packages")
    return write


def said(folder, code, *, cwd=None):
    """What `code` prints, run in a folder that is not the user's unless `cwd` says so."""
    site = folder.parent / "site-packages"
    prelude = "from pathlib import Path; from edgekit.optimize.user_model.user_code import find, import_file\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", prelude + code],
        cwd=cwd or site,
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


NAMES = ("train", "optimize", "utils", "models", "edge_runtime")
OWN = {f"{name}.py": f"WHO = 'own {name}'" for name in NAMES}
LAZY = (
    "def build():\n"
    + "".join(f"    import {name}\n" for name in NAMES)
    + f"    return [m.WHO for m in ({','.join(NAMES)})]"
)


@pytest.mark.parametrize("how", ["import {names}\ndef build(): return [m.WHO for m in ({names},)]", LAZY])
def test_it_finds_its_own_at_the_top_and_lazily(place, how):
    folder = place(OWN | {"my_net.py": how.replace("{names}", ", ".join(NAMES))})
    found = said(
        folder, f"build = find('{folder}/my_net.py:build'); import edgekit.train, edgekit.optimize; print(build())"
    )
    assert found == str([f"own {name}" for name in NAMES])


@pytest.mark.parametrize("init", [True, False])
def test_a_folder_of_its_own_is_a_package_with_and_without_init(place, init):
    files = {
        "train/layers.py": "WHO = 'own layers'",
        "my_net.py": "from train.layers import WHO\ndef build(): return WHO",
    }
    folder = place(files | ({"train/__init__.py": ""} if init else {}))
    assert said(folder, f"print(find('{folder}/my_net.py:build')())") == "own layers"


def test_by_the_name_of_a_module_in_the_current_folder(place):
    folder = place(
        OWN | {"nets/__init__.py": "", "nets/one.py": "from .two import WHO\n" + LAZY, "nets/two.py": "WHO = 1"}
    )
    assert said(folder, "print(find('nets.one:build')(), find('nets.one:WHO'))", cwd=folder).endswith(
        "'own edge_runtime'] 1"
    )


def test_no_librarys_import_runs_a_file_of_theirs(place, tmp_path):
    marker = tmp_path / "marker"
    names = ("numpy", "click", "onnx", "PIL", "yaml", "rich")
    hostile = {f"{name}.py": HOSTILE.format(marker=str(marker)) for name in names}
    uses = "import numpy, yaml\ndef build():\n    import onnx, PIL\n    return [m.__name__ for m in (onnx, PIL, yaml)]"
    folder = place(hostile | {"my_net.py": uses})
    found = said(folder, f"print(find('{folder}/my_net.py:build')()); import edgekit.cli, click; print(click.__name__)")
    assert found == "['onnx', 'PIL', 'yaml']\nclick"
    assert not marker.exists()


def test_what_is_not_installed_stays_so_for_libraries_but_is_found_by_its_name(place):
    thing = {"absent.py": "class Thing: pass", "my_net.py": "def build():\n    import library\n    return library"}
    folder = place(thing)
    code = f"""
library = find('{folder}/my_net.py:build')()
print(library.there("absent"))
print(library.unpickled(b"cabsent\\nThing\\n.").__name__)
print(library.by_name("absent").__file__, library.there("absent"))
"""
    assert said(folder, code).split() == ["False", "Thing", str(folder / "absent.py"), "True"]


def test_libraries_of_an_environment_inside_the_folder_are_no_code_of_the_user(place):
    folder = place({"my_net.py": "import sys, library\ndef build(): return library.there('absent')", "absent.py": ""})
    inside = folder / ".venv" / "lib" / "site-packages"
    inside.mkdir(parents=True)
    (inside / "library.py").write_text(LIBRARY)
    assert (
        said(folder, f"import sys; sys.path.insert(0, '{inside}'); print(find('{folder}/my_net.py:build')())")
        == "False"
    )


def test_what_many_libraries_bring_along_gives_way_and_what_they_are_called_does_not(place):
    """utils.py of a distribution called otherwise is free; `tool`, and `toolib` of other-tool, are theirs."""
    place(
        {
            "utils.py": "WHO = 'of sloppy'",
            "sloppy.py": "",
            "sloppy-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: sloppy\nVersion: 1\n",
            "sloppy-1.dist-info/top_level.txt": "sloppy\nutils\n",
            "tool.py": "WHO = 'of tool'",
            "tool-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tool\nVersion: 1\n",
            "toolib.py": "WHO = 'of other-tool'",
            "other_tool-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: other-tool\nVersion: 1\n",
            "other_tool-1.dist-info/top_level.txt": "toolib\n",
            "shadows/__init__.py": "WHO = 'installed'",
        },
        "site-packages",
    )
    own = {f"{name}.py": "WHO = 'own'" for name in ("utils", "tool", "toolib")}
    pictures = {"shadows/a/b.png": ""}  # a folder of data, which is no package
    uses = "import utils, tool, toolib, shadows\ndef build(): return [m.WHO for m in (utils, tool, toolib, shadows)]"
    folder = place(own | pictures | {"my_net.py": uses})
    assert (
        said(folder, f"print(find('{folder}/my_net.py:build')())") == "['own', 'of tool', 'of other-tool', 'installed']"
    )


PART, NEAR = "from .part import WHO", "WHO = 1"


@pytest.mark.parametrize(
    ("files", "file", "name"),
    [
        ({"pkg/__init__.py": "", "pkg/net.py": PART, "pkg/part.py": NEAR}, "pkg/net.py", "pkg.net"),
        ({"pkg/net.py": PART, "pkg/part.py": NEAR}, "pkg/net.py", "pkg.net"),
        ({"pkg/pkg.py": PART, "pkg/part.py": NEAR}, "pkg/pkg.py", "pkg.pkg"),
        ({"a/b/net.py": "from ..part import WHO", "a/part.py": NEAR}, "a/b/net.py", "a.b.net"),
        ({"pkg/__init__.py": PART, "pkg/part.py": NEAR}, "pkg/__init__.py", "pkg"),
        ({"train/net.py": f"{PART}\nimport top", "train/part.py": NEAR, "top.py": ""}, "train/net.py", "train.net"),
        ({"pkg/__init__.py": "1/0", "pkg/net.py": "from part import WHO", "pkg/part.py": NEAR}, "pkg/net.py", "net"),
    ],
)
def test_a_file_with_relative_imports_is_part_of_its_package(place, files, file, name):
    folder = place(files)
    code = f"one, again = (import_file(Path('{file}')) for _ in '12'); print(one.WHO, one.__name__, again is one)"
    assert said(folder, code, cwd=folder) == f"1 {name} True"


def test_of_two_folders_each_has_its_own(place):
    who = "def who():\n    import helpers\n    return helpers.__file__"
    first = place({"first.py": who, "helpers.py": ""}, "one")
    second = place({"net.py": who, "helpers.py": ""}, "two")
    code = f"one = find('{first}/first.py:who'); find('{second}/net.py:who'); print(one())"
    assert said(first, code) == str(first / "helpers.py")


@pytest.mark.parametrize("name", ["onnx.py", "json.py"])
def test_a_file_named_like_a_library_is_refused_loaded_or_not(place, name):
    folder = place({name: "raise SystemExit('this should not run')"})
    code = f"try: import_file(Path('{name}'))\nexcept Exception as error: print(error)"
    assert said(folder, code, cwd=folder) == f"{name} has the name of another module that is in use. Rename it"
