"""One page of HTML that needs nothing but itself: no script, no link, no file beside it.

Every function returns a piece of HTML; all text given to them is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBER = ' class="number"'


@dataclass(frozen=True)
class Part:
    """One section of a page.

    Args:
        key: its place in links, such as "energy".
        title: its heading.
        blocks: pieces of HTML in order.
    """

    key: str
    title: str
    blocks: tuple[str, ...]


def document(*, title: str, lead: str, parts: Sequence[Part], eyebrow: str = "", foot: str = "") -> str:
    """Return a whole page.

    Args:
        title: its heading.
        lead: what it says in two sentences.
        parts: its sections in order.
        eyebrow: a line above the heading.
        foot: a line at the end.

    Example:
        >>> document(title="Digits", lead="All right.", parts=[]).startswith("<!doctype html>")
        True
    """
    links = "".join(f'<li><a href="#{escape(part.key)}">{escape(part.title)}</a></li>' for part in parts)
    body = "\n".join(
        f'<section id="{escape(part.key)}" aria-labelledby="{escape(part.key)}-title">\n'
        f'<h2 id="{escape(part.key)}-title">{escape(part.title)}</h2>\n' + "\n".join(part.blocks) + "\n</section>"
        for part in parts
    )
    style = files("snnkit.report").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="eyebrow">{escape(eyebrow)}</p>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}
</main>
<footer><p>{escape(foot)}</p></footer>
</body>
</html>
"""


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Return a row of large figures, each with a name and a note."""
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{_spread(value)}</dd><dd>{_spread(note)}</dd></div>"
        for name, value, note in entries
    )
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "") -> str:
    """Return a table whose first column names its rows; numbers are aligned to the right."""
    rows = [list(row) for row in rows]
    right = [k > 0 and all(_number(row[k]) for row in rows) for k in range(len(head))]
    top = "".join(f'<th scope="col"{NUMBER if right[k] else ""}>{escape(cell)}</th>' for k, cell in enumerate(head))
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{NUMBER if right[k] else ''}>{_spread(row[k])}</td>" for k in range(1, len(row)))
        + "</tr>\n"
        for row in rows
    )
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{named}<thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>'


def facts(entries: Mapping[str, str]) -> str:
    """Return a list of names with what they are."""
    pairs = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in entries.items())
    return f'<dl class="facts">{pairs}</dl>'


def figure(drawing: Figure, *, alt: str, caption: str) -> str:
    """Return a figure with its caption; `alt` says what it shows to those who do not see it."""
    from snnkit.report.theme import svg

    width = f"--width:{7 * drawing.get_figwidth():g}rem"
    return f'<figure style="{width}">{svg(drawing, alt=alt)}<figcaption>{escape(caption)}</figcaption></figure>'


def grid(*blocks: str, narrow: bool = False) -> str:
    """Return blocks side by side where there is room, below one another where there is not."""
    return f'<div class="grid{" narrow" if narrow else ""}">{"".join(blocks)}</div>'


def aside(text: str, block: str) -> str:
    """Return text with a block beside it where there is room, else below it."""
    return f'<div class="aside"><div>{text}</div>{block}</div>'


def _spread(text: str) -> str:
    """Return a text whose lines never break between ±, its number, and its unit."""
    return re.sub(r"± (\d+(?:[.,]\d+)*)(?: (?=\w))?", _joined, escape(text))


def _joined(found: re.Match[str]) -> str:
    return found[0].replace(" ", "\N{NO-BREAK SPACE}")


def _number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in ("–", "-", "±")
