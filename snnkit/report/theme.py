"""How figures look, and figures as SVG whose colours follow the page around them, light or dark."""

from __future__ import annotations

import functools
import hashlib
import html
import io
import re
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

INK, MUTED, RULE = "#1c2733", "#5b6877", "#d3dae2"
BLUE, ORANGE, GREEN, PURPLE, SAND = "#0f6cb0", "#c8560c", "#0b7d69", "#8a4f9e", "#b5bec9"
"""Blue is the spiking network and orange the ANN everywhere; told apart by any eye, and in grey (Okabe & Ito 2008)."""

WIDE, NARROW = 5.0, 4.0
"""Widths in inches of figures that stand two and three in a row; either fits a telephone."""

VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PURPLE: "purple",
    SAND: "sand",
}
"""Colour of a figure to the name of the page's variable that stands for it."""

STYLE: dict[Any, Any] = {
    "figure.figsize": (WIDE, 3.1),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 8,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "font.size": 9.5,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "snnkit",
}

P = ParamSpec("P")


def styled(make: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw what a function draws in the style of the report."""

    @functools.wraps(make)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return make(*args, **kwargs)

    return wrapped


def svg(figure: Figure, *, alt: str) -> str:
    """Return a figure as an SVG element for a page: text stays text, and colours are the page's.

    Args:
        figure: of `snnkit.report`, or any other of matplotlib.
        alt: what it shows, for those who do not see it.
    Returns:
        The element, with identifiers of its own, so that many fit on one page.

    Example:
        >>> svg(raster(torch.eye(5)), alt="five spikes").startswith("<svg")
        True
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"""(font: [^;"]*?px) [^;"]*""", r"\1 var(--font)", text)
    text = re.sub(r"""font-family: [^;"]*""", "font-family: var(--font)", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    text = _own_ids(text, hashlib.sha256(text.encode()).hexdigest()[:8])
    box = re.search(r'viewBox="([^"]+)"', text)
    view = box[1] if box else "0 0 1 1"
    head = f'<svg viewBox="{view}" role="img" aria-label="{html.escape(alt, quote=True)}">'
    return head + text[text.index(">") + 1 :].strip()


def _own_ids(text: str, prefix: str) -> str:
    """Give the identifiers that are referred to a prefix, drop the others, and turn marks for the page into classes."""
    text = text.replace("xlink:href", "href")
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))

    def identifier(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith("ink"):
            return ' class="ink"'
        return f' id="{prefix}-{name}"' if name in used else ""

    text = re.sub(r'\s+id="([^"]*)"', identifier, text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
