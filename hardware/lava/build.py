"""Build the worker's Python 3.10 environment: `python build.py [FOLDER]`, by default `.venv` beside this file.

It takes the interpreter that SNNKIT_LAVA_PYTHON names, else `python3.10` on the PATH, else one of pyenv's; and it does
nothing where the environment is there and has what `requirements.txt` asks for. This script runs on any Python 3.
"""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
STAMP = "snnkit-lava.txt"
MISSING = """Lava needs Python 3.10, and there is none: no `python3.10` on the PATH runs, and pyenv has none.
Get one by one of
    pyenv install 3.10
    uv python install 3.10
    apt-get install python3.10 python3.10-venv
and build again, or name it: SNNKIT_LAVA_PYTHON=/path/to/python3.10"""


def main(folder):
    """Build the environment in a folder, unless it is there."""
    wanted = (HERE / "requirements.txt").read_text()
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        print(f"the Lava environment is in {folder}")
        return
    python = interpreter()
    print(f"== Lava environment: {folder}, by {python}")
    stamp.unlink() if stamp.is_file() else None
    call([python, "-m", "venv", str(folder)])
    inside = str(folder / "bin" / "python")
    pip = [inside, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    call([*pip, "-r", str(HERE / "requirements.txt")])
    call([inside, str(HERE / "worker.py"), "--check"])
    stamp.write_text(wanted)
    print(f"the Lava environment is in {folder}")


def interpreter():
    """Return the path of a Python 3.10 that runs, or exit and say how to get one."""
    named = os.environ.get("SNNKIT_LAVA_PYTHON")
    if named:
        found = version(named)
        if found != "3.10":
            sys.exit(f"SNNKIT_LAVA_PYTHON={named} {'is Python ' + found if found else 'does not run'}; Lava needs 3.10")
        return named
    for candidate in candidates():
        if version(candidate) == "3.10":
            return candidate
    sys.exit(MISSING)


def candidates():
    """Yield paths that may be a Python 3.10; not all of them run."""
    found = shutil.which("python3.10")
    if found:
        yield found
    roots = [os.environ.get("PYENV_ROOT"), os.path.expanduser("~/.pyenv")]
    for root in filter(None, roots):
        yield from sorted(map(str, pathlib.Path(root).glob("versions/3.10*/bin/python3.10")), reverse=True)


def version(python):
    """Return a Python's version such as "3.10", or an empty string where it does not run."""
    try:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def call(command):
    """Run a command, or exit and say which one failed."""
    done = subprocess.run(command)
    if done.returncode:
        sys.exit(f"the Lava environment was not built: `{' '.join(command)}` failed with code {done.returncode}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / ".venv").absolute())
