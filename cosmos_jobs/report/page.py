"""The page itself: a document and the assets as HTML, CSS and JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

import orjson

SCRIPTS = (
    "dom.js",
    "data.js",
    "ratings.js",
    "playback.js",
    "screen.js",
    "tiles.js",
    "grid.js",
    "wipe.js",
    "compare.js",
    "plots.js",
    "keys.js",
    "main.js",
)
"""The parts of the page's program, in their order: together they are one scope."""

PLOTTING = ("d3.min.js", "plot.umd.min.js")

# Whatever a page may hold, it reaches no network: nothing is allowed but its own files.
_POLICY = (
    "default-src 'none'; img-src 'self' file: data: blob:; media-src 'self' file: data: blob:; "
    "script-src 'self' file: 'unsafe-inline'; style-src 'self' file: 'unsafe-inline'"
)


def style() -> str:
    """Return the style sheet."""
    return _asset("assets", "report.css")


def program() -> str:
    """Return the page's program."""
    parts = "\n".join(f"// --- {name} ---\n{_asset('assets', name)}" for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();\n'


def plotting() -> str:
    """Return the plotting library, which is loaded when it is needed: D3 and Observable Plot."""
    return "\n".join(_asset("vendor", name) for name in PLOTTING)


def assets() -> dict[str, str]:
    """Return the files beside a page, by name."""
    return {"report.css": style(), "report.js": program(), "plot.js": plotting()}


def html(document: Mapping[str, Any], *, embed: bool) -> str:
    """Return the page; with `embed` all of it, else with its `assets` in a folder beside it."""
    title = escape(f"{document['job']['name']} · cosmos-jobs")
    if embed:
        head = f"<style>{style()}</style>"
        # Inert until it is needed: it takes 40 ms to read.
        tail = (
            f'<script type="text/plain" id="plotting">{_inline(plotting())}</script>\n'
            f"<script>{_inline(program())}</script>"
        )
    else:
        head = '<link rel="stylesheet" href="assets/report.css">'
        tail = '<script src="assets/report.js"></script>'
    body = _asset("assets", "page.html")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="cosmos-jobs report">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
{head}
</head>
<body>
{body}
<script type="application/json" id="document">{data(document)}</script>
{tail}
</body>
</html>
"""


def data(document: Mapping[str, Any]) -> str:
    """Return a document as JSON that ends no script element, whatever texts it holds."""
    return orjson.dumps(document).decode().replace("<", "\\u003c")


def _inline(script: str) -> str:
    return script.replace("</script", "<\\/script")


def _asset(folder: str, name: str) -> str:
    return files("cosmos_jobs.report").joinpath(folder, name).read_text(encoding="utf-8")
