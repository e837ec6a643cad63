"""What `edgekit nodules` leaves in its folder: nodules.json, flagged voxels, pictures of the first findings, a page.

The folder appears whole or not at all. Only pictures are computed here. The page needs no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.files import folder_atomically
from edgekit.edge_runtime.svg import SERIES
from edgekit.train.checkpoint import unwritable
from edgekit.train.data.ct import crop_start
from edgekit.train.data.dicom import Volume
from edgekit.train.data.synthetic_ct import MARK
from edgekit.train.models.luna_classifier import CROP
from edgekit.train.nodules.analysis import Analysis, Finding

JSON_FILE, PAGE_FILE, MASK_FILE = "nodules.json", "index.html", "mask.npz"
FORMAT_VERSION = 1
LUNG_HU = (-1350, 150)  # black and white of radiology's lung window: centre -600, width 1500
_SIDE, _GAP, _STRIP = 512, 12, 30  # pixels: of a picture's panels, between them, and of the line of text above
_INK, _PAPER, _MARK = "#e7ebf0", "#14181f", SERIES[1]

DISCLAIMER = (
    "For study only: this is not a medical device. With the book's published nets, on the 89 scans that the book held "
    "out, 2,156 of 2,288 findings were not nodules, and 22 of 154 nodules were missed."
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the findings come from."""

    scan: str
    """The name of the file or folder."""
    series_uid: str
    """The scan's series."""
    shape: tuple[int, ...]
    """Slices, rows, columns."""
    spacing_mm: tuple[float, float, float]
    """Between voxels, along the three indices."""
    weights: dict[str, dict[str, str]]
    """By net: the file's name and SHA-256."""
    device: str
    """Where the nets ran."""
    versions: dict[str, str]
    """Of Python and the packages."""
    commit: str | None
    """Of edgekit's source; None for an installed copy."""
    flagged_voxels: int
    """As in `Analysis`."""
    groups: int
    """As in `Analysis`."""
    most_probable: float | None
    """As in `Analysis`."""
    seconds: dict[str, float]
    """By stage, reading included."""


def check_free(out: Path) -> None:
    """Raises `UsageError` unless `out` can become the folder of results: it must be missing or empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already, and is not empty. Remove it, or give another --out")


def answer(analysis: Analysis, provenance: Provenance) -> dict[str, object]:
    """The content of nodules.json."""
    return {
        "format_version": FORMAT_VERSION,
        "findings": to_plain(analysis.findings),
        "provenance": to_plain(provenance),
        "warning": DISCLAIMER,
    }


def write(out: Path, volume: Volume, analysis: Analysis, provenance: Provenance, *, top: int) -> None:
    """Makes the folder `out`, with pictures of the first `top` findings.

    Raises:
        UsageError: `out` is not empty. EdgekitError: it cannot be written.
    """
    check_free(out)
    out = out.resolve()
    try:
        with folder_atomically(out, replace=False) as staging:
            for finding in analysis.findings[:top]:
                picture(volume, finding).save(staging / picture_name(finding), optimize=True)
            (staging / JSON_FILE).write_bytes(canonical_json(answer(analysis, provenance)))
            save_mask(staging / MASK_FILE, analysis.mask)
            (staging / PAGE_FILE).write_text(page(analysis, provenance, top=top), encoding="utf-8")
    except OSError as error:
        raise unwritable(out, error) from None


def save_mask(path: Path, mask: np.ndarray) -> None:
    """Writes the flagged voxels, (D, H, W) bool, as `bits`, eight to a byte, and their `shape`."""
    np.savez_compressed(path, bits=np.packbits(mask), shape=np.array(mask.shape))


def picture_name(finding: Finding) -> str:
    return f"finding-{finding.number:03d}.png"


def picture(volume: Volume, finding: Finding) -> Image.Image:
    """The finding's slice with a circle around it, and beside that the part that the classifier saw, enlarged."""
    middle, row, column = finding.voxel
    slice_ = volume.hu[middle]
    _, top, left = crop_start(finding.voxel, CROP, volume.hu.shape)
    near = slice_[top : top + CROP[1], left : left + CROP[2]]
    panels = [
        _panel(volume, slice_, (row, column), finding.diameter_mm),
        _panel(volume, near, (row - top, column - left), finding.diameter_mm),
    ]
    height = max(panel.height for panel in panels)
    made = Image.new("RGB", (2 * _SIDE + _GAP, height + _STRIP), _PAPER)
    for i, panel in enumerate(panels):
        made.paste(panel, (i * (_SIDE + _GAP), _STRIP))
    ImageDraw.Draw(made).text((8, 6), _label(finding), fill=_INK, font=ImageFont.load_default(15))
    return made


def _panel(volume: Volume, hu: np.ndarray, place: tuple[int, int], diameter_mm: float) -> Image.Image:
    """`hu` (H, W) as a picture whose longer side is `_SIDE`, in the patient's proportions, with a circle at `place`."""
    _, row_mm, column_mm = volume.spacing_mm
    low, high = LUNG_HU
    grey = ((hu.astype(np.float32) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    sides_mm = hu.shape[1] * column_mm, hu.shape[0] * row_mm
    scale = _SIDE / max(sides_mm)
    width, height = (max(1, round(side * scale)) for side in sides_mm)
    made = Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC).convert("RGB")
    y, x = (place[0] + 0.5) * row_mm * scale, (place[1] + 0.5) * column_mm * scale
    radius = max(10.0, 0.75 * diameter_mm * scale)  # one and a half times the nodule's, so that its edge stays visible
    ImageDraw.Draw(made).ellipse((x - radius, y - radius, x + radius, y + radius), outline=_MARK, width=2)
    return made


def _label(finding: Finding) -> str:
    return f"{finding.number}   {chances_text(finding)}   {finding.diameter_mm:.1f} mm   {place_text(finding)}"


def chances_text(finding: Finding) -> str:
    """The nets' answers, such as "P(nodule) 0.974"."""
    malignant = "" if finding.malignant is None else f", P(malignant) {finding.malignant:.3f}"
    return f"P(nodule) {finding.nodule:.3f}{malignant}"


def place_text(finding: Finding) -> str:
    """Such as "slice 60, row 210, column 101"."""
    slice_, row, column = finding.voxel
    return f"slice {slice_}, row {row}, column {column}"


def page(analysis: Analysis, provenance: Provenance, *, top: int) -> str:
    """index.html; its pictures lie beside it."""
    count = len(analysis.findings)
    title = f"{count or 'No'} finding{'' if count == 1 else 's'}"
    shown = analysis.findings[:top]
    tiles = {
        "voxels of the scan": int(np.prod(provenance.shape)),
        "flagged by the U-Net": analysis.flagged_voxels,
        "groups of these": analysis.groups,
        "taken for nodules": count,
    }
    numbers = "".join(f"<div><b>{n:,}</b><span>{escape(what)}</span></div>" for what, n in tiles.items())
    made_up = f"{MARK}: this scan was computed and shows no patient. " if _synthetic(provenance) else ""
    pictures = "".join(_figure(finding) for finding in shown)
    left = f'<p class="lead">Pictures of the first {len(shown)} of {count}:</p>' if count > len(shown) else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title} in {escape(provenance.scan)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<p class="over">edgekit nodules · {escape(provenance.scan)}</p>\n<h1>{title}</h1>\n'
        f'<p class="over">series {escape(provenance.series_uid)}</p>\n'
        f'<p class="warning">{escape(made_up + DISCLAIMER)}</p>\n<div class="numbers">{numbers}</div>\n'
        f"{_table(analysis, top)}{left}\n{pictures}\n<h2>Where this comes from</h2>\n{_facts(provenance)}\n"
        f"<footer>Slices, rows and columns are counted from 0, slices in the order of the body; x, y, z are mm in the "
        f"patient, towards the left, the back and the head. A diameter is that of a ball with as many flagged voxels. "
        f"Pictures: lung window, {LUNG_HU[0]} to {LUNG_HU[1]} HU, rows as the scan stores them.</footer>\n"
        f"</main>\n</body>\n</html>\n"
    )


def _synthetic(provenance: Provenance) -> bool:
    return provenance.series_uid.startswith(MARK)


def _table(analysis: Analysis, top: int) -> str:
    if not analysis.findings:
        best = analysis.most_probable
        rest = "" if best is None else f" The most probable group has P(nodule) {best:.3g}."
        return f'<p class="lead">No group of flagged voxels has a probability above one half.{rest}</p>'
    malignant = any(finding.malignant is not None for finding in analysis.findings)
    head = ["", "P(nodule)", *(["P(malignant)"] if malignant else []), "mm", "slice, row, column", "x, y, z", "voxels"]
    rows = [
        [
            _number(finding, top),
            f"{finding.nodule:.3f}",
            *([f"{finding.malignant:.3f}"] if finding.malignant is not None else []),
            f"{finding.diameter_mm:.1f}",
            ", ".join(map(str, finding.voxel)),
            ", ".join(f"{value:.1f}" for value in finding.center_mm),
            f"{finding.voxels:,}",
        ]
        for finding in analysis.findings
    ]
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    heads = "".join(f'<th scope="col">{text}</th>' for text in head)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(finding: Finding, top: int) -> str:
    """The number, as a link if there is a picture to go to."""
    return f'<a href="#finding-{finding.number}">{finding.number}</a>' if finding.number <= top else str(finding.number)


def _figure(finding: Finding) -> str:
    what = escape(f"{chances_text(finding)}, {finding.diameter_mm:.1f} mm, {place_text(finding)}")
    x, y, z = finding.center_mm
    place = f"at ({x:.1f}, {y:.1f}, {z:.1f}) mm in the patient, {finding.voxels:,} voxels"
    return (
        f'<figure id="finding-{finding.number}"><figcaption><b>{finding.number}</b><b>{chances_text(finding)}</b>'
        f"<b>{finding.diameter_mm:.1f} mm</b><span>{place_text(finding)}</span> <span>{place}</span></figcaption>"
        f'<img src="{picture_name(finding)}" loading="lazy" alt="Its slice, and its surroundings enlarged: {what}">'
        "</figure>"
    )


def _facts(provenance: Provenance) -> str:
    facts: dict[str, Sequence[str]] = {
        "scan": [f"{' × '.join(map(str, provenance.shape))} voxels, {_mm(provenance.spacing_mm)} mm"],
        **{net: [of["file"], f"sha256 {of['sha256']}"] for net, of in provenance.weights.items()},
        "seconds": [_pairs(provenance.seconds)],
        "device": [provenance.device],
        "versions": [_pairs(provenance.versions)],
        "commit": [provenance.commit or "not from a checkout"],
    }
    lines = (f"<dt>{escape(name)}</dt><dd>{'<br>'.join(map(escape, lines))}</dd>" for name, lines in facts.items())
    return f"<dl>{''.join(lines)}</dl>"


def _mm(spacing: Sequence[float]) -> str:
    return " × ".join(f"{value:.3g}" for value in spacing)


def _pairs(of: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in of.items())


# The colours are those of optimize/report/template.html, which this part may not import.
_STYLE = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --ink: #14181f; --muted: #5b6472; --line: #d9dde3;
  --bad: #b3261e; --link: #005fa0; }
@media (prefers-color-scheme: dark) { :root { --page: #0e1116; --card: #161b22; --ink: #e7ebf0; --muted: #9aa5b4;
  --line: #2f3742; --bad: #ff8a7d; --link: #58b0f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 32px 64px; }
h1, p, figure, dl, dd { margin: 0; }
h1 { font-size: 30px; line-height: 1.2; font-weight: 680; }
h2 { font-size: 20px; font-weight: 660; margin: 48px 0 12px; }
a { color: var(--link); }
.over, .lead, figcaption, footer, dt { color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
.lead { margin-top: 16px; }
.warning { border-left: 3px solid var(--bad); color: var(--bad); padding: 2px 0 2px 14px; margin: 16px 0; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 16px; margin: 24px 0; }
.numbers div, .scroll, figure { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.numbers div { padding: 14px 20px; }
.numbers b { display: block; font-size: 28px; line-height: 1.2; font-weight: 680; }
.numbers span { color: var(--muted); }
.scroll { overflow: auto; max-height: 420px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; white-space: nowrap; }
th, td { padding: 7px 14px; text-align: right; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--muted); font-weight: 500; position: sticky; top: 0; background: var(--card); }
figure { margin-top: 20px; overflow: hidden; }
figcaption { padding: 10px 16px; }
figcaption b { color: var(--ink); margin-right: 12px; white-space: nowrap; }
figcaption span { display: inline-block; margin-right: 12px; }
img { display: block; width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 20px; }
dd { overflow-wrap: anywhere; }
footer { margin-top: 40px; }
@media (max-width: 560px) { main { padding: 24px 16px 48px; } .numbers { gap: 10px; }
  .numbers div { padding: 10px 14px; } .numbers b { font-size: 20px; } }
"""
