"""The parts of the demo, in the order of the report. A new one is a module here and a line in SECTIONS."""

from snnkit.cli.demo.section import Section
from snnkit.cli.demo.sections import chip, delays, digit, errors, learning, making, operations, steps, summary

SECTIONS: tuple[Section, ...] = (
    summary.SECTION,
    digit.SECTION,
    steps.SECTION,
    errors.SECTION,
    operations.SECTION,
    learning.SECTION,
    delays.SECTION,
    chip.SECTION,
    making.SECTION,
)
"""Every section; each is computed for every seed, printed, stored and shown by being here."""

__all__ = ["SECTIONS"]
