"""Compile it: the same spikes from the readable reference and from the fused kernel, whose source can be read."""

import time

import torch

import snnkit
from snnkit.codegen.cpu_source import source

x = torch.rand(500, 16, 512) * 2
found = {}
for backend in ("reference", "cpu"):
    layer = snnkit.LIF(tau=2.0, backend=backend)
    layer(x)
    started = time.perf_counter()
    found[backend] = layer(x)
    print(f"{backend:10} {1e3 * (time.perf_counter() - started):7.1f} ms")
print("equal in every spike:", torch.equal(found["reference"], found["cpu"]))
text = source(layer.kernel, "float32")
print(text[text.index("            for n in range(width):\n                h0_v") :])
