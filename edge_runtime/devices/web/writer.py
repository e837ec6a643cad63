"""Fills the folder of a web app, runs its self-test with Node, and packs it into one HTML file where that is asked."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...bundle.bundle import Bundle
from ...errors import EngineError, MissingDependency, UsageError, shown
from ...format import bytes_text
from ...temporary import temporary_folder
from ..device import AppRequest, Device
from .contract import bundle_files, contract, folder_of, refuses
from .engine_files import NODE, PACKAGE, VERSION, WASM, WEBGPU, engine_files

PAGE = Path(__file__).with_name("page")
# In the order in which one comes to need the other, so that they can be put together.
MODULES = (
    *("checksum.js", "arrays.js", "replay.js", "engine.js", "picture.js", "answers.js"),
    *("inputs.js", "view.js", "show.js", "source.js", "app.js"),
)
_ICONS = (192, 512)
_CHECK_S = 600
_SMALL_BYTES = 4_000_000
_HEAD = """<link rel="manifest" href="manifest.webmanifest">
<link rel="icon" href="icon-192.png">
<link rel="apple-touch-icon" href="icon-192.png">
<link rel="stylesheet" href="style.css">"""
_SERVE = "python3 -m http.server 8000 --directory"


def write(request: AppRequest, folder: Path) -> list[str]:
    """Fills `folder` with the app; returns what the user types next.

    Raises:
        MissingDependency: npm or Node.js is not installed, or npm cannot fetch onnxruntime-web.
        EngineError: onnxruntime-web cannot run a bundle, or gives other answers to its golden samples.
    """
    if request.single_file and request.webgpu:
        raise UsageError("--single-file carries the WebAssembly engine alone. Leave --webgpu or --single-file out")
    engine = engine_files(WASM | (WEBGPU if request.webgpu else {}))
    if request.single_file:
        with temporary_folder() as work:
            app = _fill(request, work, engine)
            _check(work)
            (folder / "index.html").write_text(_one_file(request, work, app), encoding="utf-8")
        return [f"# open {request.out / 'index.html'} in a browser"]
    _fill(request, folder, engine)
    _check(folder)
    serve = f"{_SERVE} {_quoted(request.out)}"
    return [serve, "# then open http://localhost:8000"]


def _fill(request: AppRequest, folder: Path, engine: dict[str, bytes]) -> dict[str, Any]:
    for name, content in engine.items():
        _put(folder / name, content)
    for bundle in request.bundles:
        for name, path in bundle_files(bundle).items():
            _put(folder / folder_of(bundle) / name, path.read_bytes())
    app = contract(
        request.bundles,
        title=request.title,
        single_file=request.single_file,
        engine=engine,
        webgpu=request.webgpu,
    )
    for name in (*MODULES, "check.js", "style.css"):
        _put(folder / name, (PAGE / name).read_bytes())
    for side in _ICONS:
        _put(folder / f"icon-{side}.png", _icon(side))
    _put(folder / "package.json", _json({"name": "edgekit-web-app", "private": True, "type": "module"}))
    _put(folder / "manifest.webmanifest", _json(_web_manifest(request.title)))
    scripts = '<script type="module" src="app.js"></script>'
    _put(folder / "index.html", _page(request.title, _HEAD, scripts).encode())
    app["size"] = bytes_text(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    _put(folder / "contract.js", _contract_text(app).encode())
    _put(folder / "README.md", _readme(request, app).encode())
    kept = [name for name in _files(folder) if name not in ("check.js", "package.json", "README.md", *WEBGPU)]
    digest = hashlib.sha256()
    for name in kept:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    head = f"const VERSION = {digest.hexdigest()[:16]!r}, FILES = {json.dumps(['./', *kept])};\n"
    _put(folder / "sw.js", (head + (PAGE / "sw.js").read_text(encoding="utf-8")).encode())
    return app


def _check(folder: Path) -> None:
    """Replays the golden samples in the app's own engine: what was never run is not handed out."""
    node = shutil.which("node")
    if node is None:
        raise MissingDependency(
            f"the app is tried with Node.js before it is handed out, which is not installed. {NODE}"
        )
    try:
        # Small models are through before the engine is compiled well, and nothing else needs it then.
        quick = sum(path.stat().st_size for path in folder.rglob("bundles/*/*")) < _SMALL_BYTES
        command = [node, *(["--liftoff-only"] if quick else []), "check.js"]
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CHECK_S, check=False
        )
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise EngineError(
            f"the golden samples were not through {PACKAGE} after {_CHECK_S} s. The model is too slow for a browser: "
            "give a smaller one"
        ) from None
    except (OSError, ValueError) as error:
        said = done.stderr.decode(errors="replace") if isinstance(error, ValueError) else error
        raise EngineError(f"{node} could not run the app's self-test: {shown(said)}. {NODE}") from None
    if found.get("error"):
        raise EngineError(f"{PACKAGE} {VERSION} could not be loaded: {shown(found['error'])}. {NODE}")
    for bundle in found["bundles"]:
        if not bundle["passed"]:
            raise EngineError(_reason(bundle))


def _reason(bundle: dict[str, Any]) -> str:
    name, error, failed = bundle["name"], bundle["error"], [o for o in bundle["outputs"] if not o["passed"]]
    if not failed:
        return (
            f"{name} cannot run in {PACKAGE} {VERSION}: {shown(error)}. Leave it out, or make one with another recipe "
            "or an older opset"
        )
    worst = failed[0]
    return (
        f"{name} gives other answers in {PACKAGE} {VERSION} than its golden samples have: {worst['output']} has max "
        f"|Δ| {worst['max_abs'] or 0:.3g} and {100 * worst['agreement']:.1f} % agree. Leave it out of the app"
    )


def _one_file(request: AppRequest, folder: Path, app: dict[str, Any]) -> str:
    """The app as one page: our modules put together, every other file in it, in gzip and base64."""
    held = [*WASM, *(f"{folder_of(bundle)}/{name}" for bundle in request.bundles for name in bundle_files(bundle))]
    data = [
        f'<script type="application/octet-stream" id="{name}">{_packed((folder / name).read_bytes())}</script>'
        for name in held
    ]
    texts = {"contract.js": _contract_text(app)}
    texts |= {name: (folder / name).read_text(encoding="utf-8") for name in MODULES}
    code = "\n".join(_inlined(name, text) for name, text in texts.items())
    head = (
        f"<style>\n{(folder / 'style.css').read_text(encoding='utf-8')}</style>\n" + '<link rel="icon" href="data:,">'
    )
    code = code.replace("</script", "<\\/script")
    return _page(request.title, head, "\n".join([*data, f'<script type="module">\n{code}</script>']))


def _inlined(name: str, module: str) -> str:
    """A module as a function that gives its exports: one page from disk can import nothing."""
    exports = ", ".join(re.findall(r"^export (?:async )?(?:const|function) ([\w$]+)", module, re.MULTILINE))
    without = re.sub(r"^export (?=const|function|async)", "", module, flags=re.MULTILINE)
    body = re.sub(r'^import (\{.*\}) from "\./(\w+)\.js";$', r"const \1 = \2_js;", without, flags=re.MULTILINE)
    return f"const {name.replace('.', '_')} = (() => {{\n{body}return {{ {exports} }};\n}})();"


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _page(title: str, head: str, scripts: str) -> str:
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    parts = {"title": html.escape(title), "engine": VERSION, "head": head, "scripts": scripts}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], text)


def _contract_text(app: dict[str, Any]) -> str:
    # Written so that no label can end a script element.
    text = json.dumps(app, indent=1, ensure_ascii=True).replace("<", "\\u003c")
    about = "// The contract of the bundles: shapes, dtypes, pictures, labels, hashes, versions. Generated."
    return f"{about}\nexport const APP = {text};\n"


def _web_manifest(title: str) -> dict[str, Any]:
    icons = [
        {"src": f"icon-{side}.png", "sizes": f"{side}x{side}", "type": "image/png", "purpose": "any"} for side in _ICONS
    ]
    return {
        "name": title,
        "short_name": title[:12],
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#f6f7fb",
        "theme_color": "#4353c4",
        "icons": icons,
    }


def _icon(side: int) -> bytes:
    """Three bars of an answer on a square, as PNG."""
    from io import BytesIO

    from PIL import Image, ImageDraw

    image = Image.new("RGB", (512, 512), "#4353c4")
    draw = ImageDraw.Draw(image)
    for place, (length, colour) in enumerate(((320, "#ffffff"), (200, "#c3caff"), (110, "#8f9bff"))):
        top = 128 + 96 * place
        draw.rounded_rectangle((96, top, 96 + length, top + 60), radius=24, fill=colour)
    out = BytesIO()
    image.resize((side, side), Image.Resampling.LANCZOS).save(out, "PNG")
    return out.getvalue()


def _readme(request: AppRequest, app: dict[str, Any]) -> str:
    names = "\n".join(f"- `{folder_of(bundle)}`: {_line(bundle)}" for bundle in request.bundles)
    shown_title = request.title.replace("\n", " ")
    return f"""# {shown_title}

A web app that runs these bundles in the browser, and checks them there first:

{names}

It is a folder of plain files, {app["size"]}, that any web server can hand out. To try it here you need Python 3; to put
it online, copy the folder to a server with https (without https a browser gives no camera, and keeps no app).

```sh
{_SERVE} .              # then open http://localhost:8000
node check.js           # the self-test without a browser (Node.js 20)
```

What you see: each bundle's files are checked against their SHA-256, its golden samples are replayed, and a card says
how close the answers are, on which back end, and how long they take in that browser. A bundle that fails is not used.
Then give it an input. After the first load the app works without a network; a browser's menu can install it.

`engine/` is ONNX Runtime Web {VERSION}, © Microsoft Corporation, under the MIT licence.
"""


def _line(bundle: Bundle) -> str:
    return f"{bundle.manifest.recipe}, {bytes_text(bundle.manifest.artifact.bytes)}, {bundle.manifest.status}"


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _files(folder: Path) -> list[str]:
    paths: Iterable[Path] = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


WEB = Device(
    name="web",
    description="a browser, on a phone or a computer; needs Node.js with npm once, to write it",
    formats=("onnx",),
    exporters=("onnx",),
    refuses=refuses,
    write=write,
    options=frozenset({"single_file", "webgpu"}),
)
