"""A page that shows all overlays of a folder, for a look in a browser."""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bodyjax import files

STYLE = (
    "body{font:14px sans-serif;margin:1em}"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(20em,1fr));gap:1em}"
    "figure{margin:0}img,video{width:100%;height:20em;object-fit:contain;background:#eee}"
)


def write(
    file: Path, root: Path, overlays: Mapping[Path, Path], people: Sequence[Mapping[str, Any]]
) -> None:
    """Writes the page: each file of `root` with its overlay, linked by its place relative to the
    page, and how many people it shows. people: the JSON's rows. DataError if that can't be done."""
    base = root if root.is_dir() else root.parent
    counts = Counter(_who(person) for person in people)
    of_file = Counter(name for name, _ in counts)
    figures = []
    for source, overlay in overlays.items():
        name = str(source.relative_to(base))
        where = quote(os.fsencode(os.path.relpath(overlay.resolve(), file.resolve().parent)))
        if files.is_video(overlay):
            shown = f'<video src="{where}" controls muted preload="metadata"></video>'
        else:
            shown = f'<img src="{where}" alt="" loading="lazy">'
        found = of_file[name]
        count = "1 person" if found == 1 else f"{found} people"
        figures.append(
            f'<figure><a href="{where}">{shown}</a>'
            f"<figcaption>{html.escape(name)}: {count}</figcaption></figure>"
        )
    title = html.escape(f"People in {root.name or root}")
    lines = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>',
        f"<h1>{title}</h1><main>",
        *figures,
        "</main></html>",
    ]
    files.write_text(file, "\n".join(lines) + "\n")


def _who(person: Mapping[str, Any]) -> tuple[str, Any]:
    """A person of a file: by identity in a video, by place in a picture."""
    return str(person["file_name"]), person.get("identity", tuple(person["keypoints"]))
