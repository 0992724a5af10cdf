"""Files that are wrong: corrupted at random, with the digest as it was or signed again, or made to harm.

As a program, `python corruption.py FILE SEED COUNT` loads so many corrupted and signed copies of a network's file,
prints how many loaded and how many were refused, and dies where anything else happens.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import h5py

from snnkit.errors import SnnkitError
from snnkit.files import container, from_bytes


def corrupt(content: bytes, draw: random.Random) -> bytes:
    """Return a copy with bits flipped, bytes overwritten, cut, added, removed or swapped."""
    copy = bytearray(content)
    place, length = draw.randrange(len(copy)), draw.randrange(1, 64)
    match draw.randrange(6):
        case 0:
            for _ in range(draw.choice((1, 1, 2, 8))):
                copy[draw.randrange(len(copy))] ^= 1 << draw.randrange(8)
        case 1:
            copy[place : place + length] = draw.choice((bytes, draw.randbytes))(len(copy[place : place + length]))
        case 2:
            del copy[place:]
        case 3:
            copy[place:place] = draw.randbytes(length)
        case 4:
            del copy[place : place + length]
        case _:
            first, second = sorted(draw.sample(range(0, len(copy) - length, length), 2))
            one, other = copy[first : first + length], copy[second : second + length]
            copy[first : first + length], copy[second : second + length] = other, one
    return bytes(copy)


def sign(body: bytes, **header: int | str) -> bytes:
    """Return a file with this body and a header that belongs to it."""
    content = bytearray(container.HEADER) + body
    container.seal(content, **header)  # pyright: ignore[reportArgumentType]
    return bytes(content)


def edited(content: bytes, path: Path, edit: Callable[[h5py.File], object]) -> bytes:
    """Return a file's content after an edit by h5py, signed again; `path` takes it meanwhile."""
    path.write_bytes(content)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        edit(file)
    return sign(path.read_bytes()[container.HEADER :])


def main(path: str, seed: str, count: str) -> None:
    """Load corrupted and signed copies of a file, and print how many loaded and how many were refused."""
    body = Path(path).read_bytes()[container.HEADER :]
    draw = random.Random(int(seed))
    loaded = refused = 0
    for _ in range(int(count)):
        content = sign(corrupt(body, draw))
        try:
            from_bytes(content)
            loaded += 1
        except SnnkitError:
            refused += 1
    print(loaded, refused)


if __name__ == "__main__":
    main(*sys.argv[1:])
