"""The progress bar appears on a terminal once work takes long, and nowhere else."""

import io

import pytest
from rich.console import Console

from snnkit.train import progress


@pytest.fixture
def shown(monkeypatch):
    """Return a function that runs a bar of three steps and returns what it printed."""

    def run(*, terminal, patience):
        screen = io.StringIO()
        monkeypatch.setattr(
            progress, "Console", lambda stderr: Console(file=screen, force_terminal=terminal, width=100)
        )
        monkeypatch.setattr(progress, "_PATIENCE", patience)
        with progress.Bar(5, done=2) as bar:
            for step in range(3):
                bar.advance(f"step {step}")
        return screen.getvalue()

    return run


def test_long_work_on_a_terminal_shows_a_bar(shown):
    text = shown(terminal=True, patience=0.0)
    assert "step 2" in text
    assert "5/5" in text


def test_short_work_shows_nothing(shown):
    assert shown(terminal=True, patience=60.0) == ""


def test_no_terminal_shows_nothing(shown):
    assert shown(terminal=False, patience=0.0) == ""
