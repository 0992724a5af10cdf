"""CUDA C compiled for the current device by CuPy's NVRTC, and kept on disk.

`cupy.RawModule` does this too, but adds `-ftz=true`: subnormal numbers count as zero. That loses what other backends
keep, and half-precision inputs below 2**-14, which are read through subnormal numbers.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from typing import Any

from snnkit.codegen import cache


def load(name: str, source: str, options: Sequence[str]) -> Any:
    """Return a kernel of this source, loaded on the current device.

    Args:
        name: the kernel's name; its source is written under it, to be read.
        source: CUDA C that includes nothing.
        options: compiler options.

    Returns:
        A `cupy.cuda.Function`, called as `kernel(grid, block, arguments)`.
    """
    cupy = importlib.import_module("cupy")
    cache.write(cache.folder() / f"{name}.cu", source)
    facts = (source, tuple(options), cupy.cuda.nvrtc.getVersion(), cupy.cuda.Device().compute_capability)
    path = cache.folder() / f"{name}_{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.cubin"
    if not path.exists():
        binary, _ = cupy.cuda.compiler.compile_using_nvrtc(source, tuple(options))
        cache.write(path, binary)
    module = cupy.cuda.function.Module()
    module.load(path.read_bytes())
    return module.get_function(name)
