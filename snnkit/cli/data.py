"""`snnkit data`: cards to read, samples to look at, files to prepare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from snnkit import cards
from snnkit.cli.console import standard
from snnkit.data.card import SPLITS, names, read
from snnkit.errors import DataError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS = 160


def list_cards() -> None:
    """Print every data set with its licence."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "title", "licence"):
        table.add_column(column)
    for name in names():
        card = read(name)
        table.add_row(name, card.title, card.licence)
    standard().print(table)


def show_card(name: str) -> None:
    """Print one card whole; raises DataError where there is none of that name."""
    card = read(name)
    path = Path(name) if name.endswith(".toml") else cards.folder("datasets") / card.name / "card.toml"
    print(path.read_text(encoding="utf-8"))


def draw(name: str, index: int, *, split: str, out: Path | None, root: Path | None) -> None:
    """Draw one sample into a PNG file.

    Raises:
        DataError: an unknown split, a sample that is not there, or another suffix than that of a picture.
    """
    from snnkit.data import load

    if split not in SPLITS:
        raise DataError(f"no split {split!r}{nearest(split, SPLITS)}; known: {', '.join(SPLITS)}")
    data = load(name, root)
    target = out or Path(f"{data.card.name}-{split}-{index}.png")
    if target.suffix not in (".png", ".svg", ".pdf"):
        raise DataError(f"{target} ends in {target.suffix!r}; .png, .svg or .pdf is needed")
    samples = getattr(data, split)
    if index >= len(samples):
        raise DataError(
            f"{split} of {data.card.name} has {len(samples):,} samples, 0 to {len(samples) - 1:,}: no {index}"
        )
    label = data.card.classes if data.kind == "images" else samples.classes
    title = f"{data.card.name}, {split} {index}: {label[int(samples.labels[index])]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    _figure(data.kind, samples, index, title).savefig(target, dpi=_DOTS, facecolor="white", transparent=False)
    standard().print(f"wrote {target}")


def _figure(kind: str, samples: Any, index: int, title: str) -> Figure:
    from snnkit import report

    if kind == "events":
        return report.events(samples, index, title=title)
    if kind == "signals":
        part = slice(samples.offsets[index], samples.offsets[index + 1])
        return report.spectrogram(samples.values[part], title=title)
    image = samples.images[index]
    if len(image) == 3:
        return report.photograph(image, title=title)
    return report.gallery(image.mean(0, keepdim=True), titles=(title,), width=2.6)


def prepare(name: str, *, root: Path | None) -> None:
    """Verify and read all splits of a data set, and print what came of it."""
    from snnkit.data import load

    data = load(name, root)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("split", "samples", "groups", "median length", "median events"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split in SPLITS:
        table.add_row(split, *_summary(data.kind, getattr(data, split)))
    standard().print(table)


def _summary(kind: str, samples: Any) -> tuple[str, ...]:
    """Return what is worth knowing of a split, as text for a table."""
    import numpy as np

    count = f"{len(samples):,}"
    if kind == "images":
        return count, "", "", ""
    groups, lengths = str(len(samples.group_names)), np.diff(samples.offsets)
    if kind == "signals":
        return count, groups, f"{np.median(lengths):,.0f} steps", ""
    last = [samples.recording(index)[0][-1:] for index in range(len(samples))]
    ends = [int(times[0]) if len(times) else 0 for times in last]
    return count, groups, f"{np.median(ends) / 1000:,.0f} ms", f"{np.median(lengths):,.0f}"
