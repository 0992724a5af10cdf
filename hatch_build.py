"""Puts the Lava worker's programs into the wheel beside the cards; an editable install finds them in the checkout."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_WORKER = "hardware/lava"


class Worker(BuildHookInterface):
    """The hook that hatchling calls before it builds a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name each program of the worker and its place in the wheel; hatchling cannot map programs when editable."""
        if version == "editable":
            return
        root = Path(self.root)
        for path in sorted((root / _WORKER).rglob("*.py")):
            relative = path.relative_to(root)
            if ".venv" not in relative.parts:
                build_data["force_include"][str(relative)] = f"snnkit/_cards/{relative}"
