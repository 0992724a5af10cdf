"""Check that a wheel carries the package, its cards and the Lava worker, all of them, and nothing else."""

import sys
import zipfile
from pathlib import Path

root = Path(__file__).resolve().parent.parent
held = {name for name in zipfile.ZipFile(sys.argv[1]).namelist() if ".dist-info/" not in name}

package = {str(path.relative_to(root)) for path in (root / "snnkit").rglob("*") if path.is_file()}
package = {name for name in package if "__pycache__" not in name}
cards = {
    f"snnkit/_cards/{path.relative_to(root)}"
    for folder in ("datasets", "hardware")
    for path in [root / folder / "README.md", *(root / folder).glob("*/*.toml")]
}
worker = root / "hardware" / "lava"
cards |= {
    f"snnkit/_cards/{path.relative_to(root)}"
    for path in [worker / "README.md", worker / "requirements.txt", *worker.rglob("*.py")]
    if ".venv" not in path.parts and "__pycache__" not in path.parts
}
missing, surplus = (package | cards) - held, held - (package | cards)
if missing or surplus:
    sys.exit(f"wheel: missing {sorted(missing)}, surplus {sorted(surplus)}")
print(f"the wheel holds {len(package)} files of the package and {len(cards)} of its cards")
