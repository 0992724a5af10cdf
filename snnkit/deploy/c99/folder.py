"""A folder of C99: written whole, checked by its sums, and compiled to see what it takes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from snnkit.deploy.c99 import selftest
from snnkit.deploy.c99.render import ARITHMETIC, Program
from snnkit.deploy.emulator.inputs import check_input
from snnkit.deploy.integer import IntegerNetwork
from snnkit.errors import BackendError, FileError, InputError

SUMS = "SHA256SUMS"
FLAGS = ("-std=c99", "-Os", "-Wall", "-Wextra", "-Werror", "-pedantic")

_MAKEFILE = f"""\
CFLAGS = {" ".join(FLAGS)}

check: sums selftest
	./selftest

sums:
	sha256sum --check --quiet {SUMS}

selftest: selftest.c network.c network.h arithmetic.h
	$(CC) $(CFLAGS) -o $@ selftest.c network.c

network.o: network.c network.h arithmetic.h
	$(CC) $(CFLAGS) -c -o $@ network.c

size: sums network.o
	size network.o

clean:
	rm -f selftest network.o

.PHONY: check sums size clean
"""


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: where.
        files: their names.
        constant_bytes: memory of all arrays of the network, which a microcontroller keeps in flash.
        state_bytes: memory of a state, in RAM.
    """

    folder: Path
    files: tuple[str, ...]
    constant_bytes: int
    state_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.folder}: {', '.join(self.files)}; {self.constant_bytes:,} bytes of constants and "
            f"{self.state_bytes:,} bytes of state; type make in it to compile and test"
        )


def save(chip: IntegerNetwork, folder: str | Path, *, x: Tensor | None = None) -> Export:
    """Write an integer network as C99 with a self-test.

    `network.h` and `network.c` need `stdint.h` and `memset` alone: a state that the caller owns, a function that starts
    it and one that takes a step. `selftest.c` runs vectors and compares them with the emulator; `make` in the folder
    checks the sums of all files, compiles and runs it, and `make size` prints bytes of code and data.

    Args:
        chip: what `snnkit.deploy.quantise` or `snnkit.deploy.load` returns.
        folder: where; made if it is not there. Files of an earlier export are replaced.
        x: input of the self-test [T, B, features…]; 4 drawn samples of 32 steps unless given.
    Returns:
        What was written; `print` shows it.
    Raises:
        InputError: no integer network, or an input that does not fit.
        FileError: the folder cannot be written.

    Example:
        >>> print(snnkit.deploy.c99.save(chip, "firmware"))
    """
    if not isinstance(chip, IntegerNetwork):
        raise InputError(
            f"c99.save takes a network in the chip's integers, not {type(chip).__name__}; type chip = "
            "snnkit.deploy.quantise(net, target='loihi2', calibration=x) first"
        )
    program = Program(chip)
    vectors = selftest.drawn(chip, graded=program.graded) if x is None else x
    check_input(chip, vectors)
    texts = {
        "network.h": program.header,
        "network.c": program.source,
        "arithmetic.h": ARITHMETIC,
        "selftest.c": selftest.source(program, vectors),
        "Makefile": _MAKEFILE,
    }
    texts[SUMS] = "".join(f"{_sum(text.encode())}  {name}\n" for name, text in texts.items())
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            _write(folder / name, text)
    except OSError as error:
        raise FileError(f"{folder} cannot be written: {error.strerror}") from error
    constants = sum(array.bytes for array in program.constants)
    return Export(folder, tuple(texts), constants, program.state_bytes)


def check(folder: str | Path) -> None:
    """Raise FileError unless a folder holds what `save` wrote, to the last byte; compiles and runs nothing."""
    folder = Path(folder)
    names = {"network.h", "network.c", "arithmetic.h", "selftest.c", "Makefile"}
    lines = _read(folder / SUMS).decode("ascii", "replace").split("\n")
    sums = {line.partition("  ")[2]: line.partition("  ")[0] for line in lines if line}
    if set(sums) != names or lines[-1] != "" or len(lines) != len(names) + 1:
        raise FileError(f"{folder / SUMS} is not what an export writes; export the network again")
    for name in sorted(names):
        if _sum(_read(folder / name)) != sums[name]:
            raise FileError(f"{folder / name} has changed since it was written; export the network again")


def measure(folder: str | Path, *, compiler: str | None = None) -> dict[str, int]:
    """Compile an export's network for size and return the bytes of its object file.

    Args:
        folder: what `save` wrote.
        compiler: such as `arm-none-eabi-gcc`, with a `size` of its own beside it; `gcc` or `cc` unless given.
    Returns:
        `code`, constants among it; `data` and `bss`, which the network does not need; from the tool `size`.
    Raises:
        FileError: a file that has changed.
        BackendError: no compiler, or one that refuses.
    """
    check(folder)
    found = shutil.which(compiler) if compiler else shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise BackendError(f"no C compiler {compiler or 'gcc or cc'} on the PATH; install one, or name it: compiler=")
    size = shutil.which(re.sub("(gcc|cc|clang)$", "size", found)) or shutil.which("size")
    if size is None:
        raise BackendError(f"the tool size, which belongs to {found}, is not on the PATH; install binutils")
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "network.o"
        _tool([found, *FLAGS, "-c", "-o", str(target), str(Path(folder) / "network.c")])
        numbers = _tool([size, str(target)]).splitlines()[1].split()
    return {"code": int(numbers[0]), "data": int(numbers[1]), "bss": int(numbers[2])}


def _tool(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError(f"{Path(words[0]).name} failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="ascii")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
