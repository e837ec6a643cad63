"""What a detector finds, as HTML: boxes drawn over the picture that the model sees, with their labels. Text is escaped.

Boxes are drawn over the enlarged picture, so that they stay thin and exact however small its pixels are.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.edge_runtime.format import percent_text
from edgekit.edge_runtime.tasks.detection import Detections

from .page_html import escape_html
from .pictures import data_address


def drawn(pixels: np.ndarray | None, answer: Detections) -> str:
    """All boxes from a score of 0.5 on over (1, H, W, C) uint8 pixels, and a list of them; None: the list alone."""
    rows = "".join(
        f"<li><b>{escape_html(one.label)}</b> {escape_html(percent_text(one.score))}</li>" for one in answer.certain
    )
    fainter = len(answer.found) - len(answer.certain)
    rest = f"<small>{fainter:,} {'box' if fainter == 1 else 'boxes'} below 50 %</small>" if fainter else ""
    listed = f'<ul class="ek-found">{rows or "<li>nothing found</li>"}</ul>{rest}'
    picture = "" if pixels is None else _picture(pixels, answer)
    return f'<div class="ek-boxes" data-testid="boxes">{picture}<div>{listed}</div></div>'


def verdict(left: Detections, right: Detections, *, same: bool) -> str:
    """Whether both find the same, in one plain sentence."""
    counts = [len(side.certain) for side in (left, right)]
    if same:
        found = ", ".join(escape_html(one.label) for one in left.certain) or "nothing"
        text, kind = f"Both find {found}", "ek-agree"
    else:
        words = " against ".join(f"{count} {'box' if count == 1 else 'boxes'}" for count in counts)
        text, kind = f"They disagree: {words}", "ek-disagree"
    return f'<div class="ek-verdict {kind}" data-testid="verdict" role="status"><b>{text}</b>.</div>'


def gallery(samples: Iterable[tuple[int, np.ndarray, Detections, Detections]]) -> str:
    """Golden pictures that two bundles answer otherwise: number, pixels (H, W, C), what each finds."""
    tiles = []
    for index, pixels, left, right in samples:
        sides = "".join(
            f'<div class="ek-{side}">{_picture(pixels, answer)}</div>'
            for side, answer in (("left", left), ("right", right))
        )
        tiles.append(f'<div class="ek-tile ek-pair" data-testid="tile"><small>{index + 1}</small>{sides}</div>')
    return f'<div class="ek-gallery ek-pairs">{"".join(tiles)}</div>'


def _picture(pixels: np.ndarray, answer: Detections) -> str:
    """Boxes as frames over the picture, placed in percent of it: Streamlit lets no SVG through."""
    height, width = pixels.shape[-3:-1]
    frames = []
    for one in answer.certain:
        left, right = (min(max(100 * edge / width, 0.0), 100.0) for edge in one.box[::2])
        top, bottom = (min(max(100 * edge / height, 0.0), 100.0) for edge in one.box[1::2])
        place = f"left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%"
        frames.append(f'<div class="ek-frame" style="{place}"><b>{escape_html(one.label)}</b></div>')
    image = f'<img src="{data_address(pixels)}" alt="What is found">'
    return f'<div class="ek-drawn">{image}{"".join(frames)}</div>'
