"""Constant arrays as C text, each in the smallest type that holds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TYPES = {
    "uint8_t": (0, 2**8 - 1, 1),
    "int8_t": (-(2**7), 2**7 - 1, 1),
    "uint16_t": (0, 2**16 - 1, 2),
    "int16_t": (-(2**15), 2**15 - 1, 2),
    "uint32_t": (0, 2**31 - 1, 4),
    "int32_t": (-(2**31), 2**31 - 1, 4),
}
_WIDTH = 100


@dataclass(frozen=True, eq=False)
class Constant:
    """An array of whole numbers: its name in C, its values and its type."""

    name: str
    values: np.ndarray
    kind: str

    @property
    def bytes(self) -> int:
        """The memory that it takes."""
        return self.values.size * _TYPES[self.kind][2]

    @property
    def text(self) -> str:
        """Its definition."""
        lines, line = [], ""
        for number in self.values.reshape(-1).tolist():
            word = f"{number}," if number > -(2**31) else "(-2147483647 - 1),"
            if len(line) + len(word) > _WIDTH:
                lines.append(line)
                line = ""
            line += word
        body = "\n    ".join([*lines, line.rstrip(",")])
        return f"static const {self.kind} {self.name}[{self.values.size}] = {{\n    {body}\n}};\n"

    @property
    def digest(self) -> str:
        """The statement that mixes it into a digest."""
        return (
            f"    for (k = 0; k < {self.values.size}u; ++k) {{\n"
            f"        hash = mix(hash, (uint32_t){self.name}[k]);\n    }}\n"
        )


def constant(name: str, values: np.ndarray) -> Constant:
    """Return an array in the smallest type that holds its values."""
    return Constant(name, values, smallest(int(values.min(initial=0)), int(values.max(initial=0))))


def smallest(low: int, high: int) -> str:
    """Return the smallest type of C that holds numbers from low to high."""
    return next(kind for kind, (least, most, _) in _TYPES.items() if least <= low and high <= most)


def width(kind: str) -> int:
    """Return the bytes of a type."""
    return _TYPES[kind][2]


def literal(value: int) -> str:
    """Return a number as an expression of C."""
    return str(value) if value >= 0 else f"({value})"


def unsigned(value: int) -> str:
    """Return the low 32 bits of a number as an expression of C."""
    return f"{value % 2**32}u"
