"""The self-test of an exported network: inputs, and digests of what the emulator makes of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from snnkit.deploy import emulator
from snnkit.deploy.c99.pack import constant, unsigned
from snnkit.deploy.c99.render import DIGEST_FACTOR, DIGEST_START, Program, keeps_current
from snnkit.deploy.integer import IntegerNetwork


def drawn(chip: IntegerNetwork, *, graded: bool, steps: int = 32, samples: int = 4) -> Tensor:
    """Return an input [steps, samples, features…] of a fixed seed: spikes, or whole numbers up to 255."""
    draw = torch.Generator().manual_seed(0)
    shape = (steps, samples, *chip.inputs)
    spikes = torch.rand(shape, generator=draw) < torch.tensor([0.05, 0.2, 0.5, 0.9]).view(-1, *[1] * len(chip.inputs))
    return spikes.int() * (torch.randint(1, 256, shape, generator=draw, dtype=torch.int32) if graded else 1)


def source(program: Program, x: Tensor) -> str:
    """Return the text of `selftest.c` for an input [steps, samples, features…]."""
    steps, samples = x.shape[:2]
    flat = x.flatten(2).transpose(0, 1).cpu().numpy().astype(np.int64).reshape(samples * steps, -1)
    if program.graded:
        vectors, read = constant("vectors", flat), "vectors[row * NETWORK_INPUTS + i]"
    else:
        packed = np.packbits(flat.astype(bool), axis=1, bitorder="little")
        vectors = constant("vectors", packed)
        read = f"(network_input)(vectors[row * {packed.shape[1]}u + i / 8u] >> i % 8u & 1u)"
    digests = ",\n    ".join(unsigned(int(digest)) for digest in outcomes(program.chip, x))
    return f"""\
/* Runs the vectors and compares digests of every step's answer, and of all neurons at the end, with the emulator's. */
#include <stdio.h>

#include "arithmetic.h"
#include "network.h"

#define SAMPLES {samples}u
#define STEPS {steps}u
#define CONSTANTS {unsigned(digest(program))}

{vectors.text}
static const uint32_t expected[SAMPLES] = {{
    {digests}
}};

int main(void)
{{
    static network_state state;
    static network_input input[NETWORK_INPUTS];
    uint32_t sample, step, i, wrong = 0;
    if (network_digest() != CONSTANTS) {{
        printf("selftest: the constants of network.c are not those that were exported\\n");
        return 1;
    }}
    for (sample = 0; sample < SAMPLES; ++sample) {{
        uint32_t hash = {DIGEST_START}u;
        network_start(&state);
        for (step = 0; step < STEPS; ++step) {{
            const uint32_t row = sample * STEPS + step;
            for (i = 0; i < NETWORK_INPUTS; ++i) {{
                input[i] = {read};
            }}
            network_step(&state, input);
            for (i = 0; i < NETWORK_OUTPUTS; ++i) {{
                hash = mix(mix(hash, network_spikes(&state)[i]), (uint32_t)network_membranes(&state)[i]);
            }}
        }}
        hash = mix(hash, network_state_digest(&state));
        wrong += hash != expected[sample];
    }}
    if (wrong != 0) {{
        printf("selftest: %lu of %lu samples differ\\n", (unsigned long)wrong, (unsigned long)SAMPLES);
        return 1;
    }}
    printf("selftest: %lu samples of %lu steps agree\\n", (unsigned long)SAMPLES, (unsigned long)STEPS);
    return 0;
}}
"""


def digest(program: Program) -> int:
    """Return the digest of all constants, as `network_digest` does."""
    found = DIGEST_START
    for array in program.constants:
        for number in array.values.reshape(-1).tolist():
            found = (found ^ number % 2**32) * DIGEST_FACTOR % 2**32
    return found


def outcomes(chip: IntegerNetwork, x: Tensor) -> np.ndarray:
    """Return for each sample the digest of every step's answer and of all neurons after the last [samples], uint32."""
    names = [population.name for population in chip.populations]
    last = names[-1]
    traces, after = emulator.run(chip, x, None, [*names, f"{last}.v"], "auto")
    spikes = {name: traces[name].flatten(2).cpu().numpy() for name in names}
    membranes = traces[f"{last}.v"].flatten(2).cpu().numpy()
    answer = (
        part[:, n] for s, v in zip(spikes[last], membranes, strict=True) for n in range(s.shape[1]) for part in (s, v)
    )
    found = _mixed(answer, x.shape[1])
    parts = {p.name: ("u", "v") if keeps_current(p) else ("v",) for p in chip.populations}
    ends = [(spikes[n][-1], *(after[n][part].cpu().numpy() for part in parts[n])) for n in names]
    state = _mixed((part[:, n] for parts in ends for n in range(parts[0].shape[1]) for part in parts), x.shape[1])
    return _mix(found, state)


def _mixed(numbers: Iterable[np.ndarray], samples: int) -> np.ndarray:
    found = np.full(samples, DIGEST_START, np.uint32)
    for number in numbers:
        found = _mix(found, number.astype(np.int64).astype(np.uint32))
    return found


def _mix(hash_: np.ndarray, value: np.ndarray) -> np.ndarray:
    return (hash_ ^ value) * np.uint32(DIGEST_FACTOR)
