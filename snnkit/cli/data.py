"""`snnkit data`: cards to read."""

from __future__ import annotations

from rich.table import Table

from snnkit import cards
from snnkit.cli.console import standard
from snnkit.data.card import names, read


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
    print((cards.folder("datasets") / read(name).name / "card.toml").read_text(encoding="utf-8"))
