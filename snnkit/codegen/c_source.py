"""The text of the kernels for C-like targets: one body for CUDA C and for the host's C++ compiler.

One thread carries one column of [T, M] data through time, with its states in registers; element `t * M + m` makes
neighbouring threads read neighbouring memory. The targets differ by the macros of their prelude alone, so what a host
runs is what a GPU runs. Without contraction of products and sums (`--fmad=false`, `-ffp-contract=off`), everything
but the functions of the mathematical library gives the same bits on both.

The backward kernel starts each stretch of time from a checkpoint, runs it forward again, keeping the states that the
reverse needs in thread-local memory, and then backward. That memory has a fixed size: where checkpoints lie further
apart than `STRETCH`, a first run forward leaves marks every `STRETCH` steps and each part is run from its mark, so a
step is computed at most three times for up to `STRETCH * MARKS` steps between checkpoints, which is a million steps
with a checkpoint every sqrt(T). Beyond that it is still right, and slower.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import Template

from snnkit.codegen import schedule
from snnkit.codegen.ir import Adjoint, Assign, Step
from snnkit.codegen.kernel import Kernel
from snnkit.codegen.lower import safe
from snnkit.codegen.render import C
from snnkit.codegen.schedule import used

STRETCH = 32
"""Steps whose states the backward kernel holds at a time."""

MARKS = 32
"""Stretches between two checkpoints that the backward kernel marks at a time."""

AHEAD = 8
"""Steps that are read at once, so that their way from memory overlaps."""

TYPES = {"float32": "float", "bfloat16": "snnkit_bfloat16", "float16": "snnkit_float16"}
"""Types of inputs and outputs, and how C writes them."""

_MACROS = {
    "cuda": """\
#define SNNKIT_KERNEL extern "C" __global__ void
#define SNNKIT_INLINE __device__ __forceinline__
#define SNNKIT_RESTRICT __restrict__
#define SNNKIT_COLUMNS(m, M) if (long long m = (long long)blockIdx.x * blockDim.x + threadIdx.x; m < (M))
""",
    "host": """\
#include <math.h>
#define SNNKIT_KERNEL extern "C" void
#define SNNKIT_INLINE inline
#define SNNKIT_RESTRICT __restrict
#define SNNKIT_COLUMNS(m, M) for (long long m = 0; m < (M); ++m)
""",
}

_COMMON = f"""\

enum {{ STRETCH = {STRETCH}, MARKS = {MARKS}, AHEAD = {AHEAD} }};

struct snnkit_bfloat16 {{ unsigned short bits; }};
struct snnkit_float16 {{ unsigned short bits; }};
union snnkit_word {{ float number; unsigned int bits; }};

SNNKIT_INLINE float snnkit_number(unsigned int bits) {{ snnkit_word word; word.bits = bits; return word.number; }}
SNNKIT_INLINE unsigned int snnkit_bits(float number) {{ snnkit_word word; word.number = number; return word.bits; }}

SNNKIT_INLINE float snnkit_wide(float value) {{ return value; }}
SNNKIT_INLINE float snnkit_wide(snnkit_bfloat16 value) {{ return snnkit_number((unsigned int)value.bits << 16); }}
SNNKIT_INLINE float snnkit_wide(snnkit_float16 value) {{
    const unsigned int size = value.bits & 0x7fffu;
    const unsigned int sign = (unsigned int)(value.bits & 0x8000u) << 16;
    // A product with 2**112 moves the exponent and makes subnormal halves normal; infinity and NaN keep theirs.
    const float number = snnkit_number(size << 13) * 5.192296858534828e+33f;
    return snnkit_number(sign | (size < 0x7c00u ? snnkit_bits(number) : 0x7f800000u | size << 13));
}}

SNNKIT_INLINE void snnkit_store(float* target, float value) {{ *target = value; }}
SNNKIT_INLINE void snnkit_store(snnkit_bfloat16* target, float value) {{
    const unsigned int bits = snnkit_bits(value);
    const unsigned int rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    target->bits = (unsigned short)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}}
SNNKIT_INLINE void snnkit_store(snnkit_float16* target, float value) {{
    const unsigned int bits = snnkit_bits(value), size = bits & 0x7fffffffu;
    // Below 2**-14 the sum with 0.5 rounds to the spacing of subnormal halves.
    const unsigned int tiny = snnkit_bits(snnkit_number(size) + 0.5f) - 0x3f000000u;
    const unsigned int normal = (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;
    const unsigned int large = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const unsigned int half = size < 0x38800000u ? tiny : size < 0x477ff000u ? normal : large;
    target->bits = (unsigned short)(half | (bits >> 16 & 0x8000u));
}}

// A vector repeats over the batch, a scalar over everything.
SNNKIT_INLINE float snnkit_pick(const float* values, long long length, long long m) {{
    return values[length == 1 ? 0 : m % length];
}}
"""

_FORWARD = Template("""
// $title
SNNKIT_KERNEL $name(
    const $io* SNNKIT_RESTRICT inputs, long long x_step, const float* SNNKIT_RESTRICT state,
    $io* SNNKIT_RESTRICT outputs, float* SNNKIT_RESTRICT after, float* SNNKIT_RESTRICT checkpoints,
    $parameters
    long long every, long long T, long long M)
{
    SNNKIT_COLUMNS(m, M) {
$load
        for (long long piece = 0; piece * every < T; ++piece) {
            const long long start = piece * every;
            const long long stop = start + every < T ? start + every : T;
$save
$march
        }
$keep
    }
}
""")

_BACKWARD = Template("""
// $title
SNNKIT_KERNEL $name(
    const $io* SNNKIT_RESTRICT inputs, long long x_step, const float* SNNKIT_RESTRICT checkpoints,
    const $io* SNNKIT_RESTRICT grad_outputs, long long g_step, const float* SNNKIT_RESTRICT grad_after,
    $io* SNNKIT_RESTRICT grad_inputs, float* SNNKIT_RESTRICT grad_start, float* SNNKIT_RESTRICT grad_totals,
    $parameters
    long long every, long long T, long long M)
{
    SNNKIT_COLUMNS(m, M) {
$load
$walk
$keep
    }
}
""")

_WITHOUT_STATES = Template("""\
const long long start = 0, stop = T;
$reverse""")

_SHALLOW = Template("""\
float trace[STRETCH * $kept];
for (long long piece = (T - 1) / every; piece >= 0; --piece) {
    const long long start = piece * every;
    const long long stop = start + every < T ? start + every : T;
    {
$restore
$replay
    }
$reverse
}""")

_DEEP = Template("""\
float trace[STRETCH * $kept];
float marks[MARKS * $states];
for (long long piece = (T - 1) / every; piece >= 0; --piece) {
    const long long first = piece * every;
    const long long last = first + every < T ? first + every : T;
    for (long long window = (last - first - 1) / (STRETCH * MARKS); window >= 0; --window) {
        const long long low = first + window * (STRETCH * MARKS);
        const long long high = low + STRETCH * MARKS < last ? low + STRETCH * MARKS : last;
        {
$restore
            for (long long start = first; start < high; start += STRETCH) {
                const long long stop = start + STRETCH < high ? start + STRETCH : high;
                if (start >= low) {
                    const long long part = (start - low) / STRETCH;
$mark
                }
$advance
            }
        }
        for (long long part = (high - low - 1) / STRETCH; part >= 0; --part) {
            const long long start = low + part * STRETCH;
            const long long stop = start + STRETCH < high ? start + STRETCH : high;
            {
$resume
$replay
            }
$reverse
        }
    }
}""")

_MARCH = Template("""\
for (long long base = $begin; base $more; base $next) {
$fetch
    #pragma unroll
    for (int k = 0; k < AHEAD; ++k) {
        const long long t = base $sign;
        if ($inside) {
$work
        }
    }
}""")

_FETCH = Template("""\
    float $declare;
    #pragma unroll
    for (int k = 0; k < AHEAD; ++k) {
        const long long t = base $sign;
$loads
    }""")

_LATER = {"begin": "start", "more": "< stop", "next": "+= AHEAD", "sign": "+ k", "inside": "t < stop"}
_EARLIER = {"begin": "stop", "more": "> start", "next": "-= AHEAD", "sign": "- 1 - k", "inside": "t >= start"}


@dataclass(frozen=True)
class Program:
    """One generated kernel.

    Args:
        kernel: what to generate for.
        io: type of inputs and outputs, one of `TYPES`; states and arithmetic are float32.
        wanted: which parameters the backward kernel makes a gradient for; None for the forward kernel.
        deep: whether checkpoints lie further apart than `STRETCH`; matters to the backward kernel alone.
    """

    kernel: Kernel
    io: str = "float32"
    wanted: tuple[bool, ...] | None = None
    deep: bool = False

    @cached_property
    def name(self) -> str:
        """The name of the function; a hash in it tells apart what differs in text."""
        neuron, surrogate = self.kernel.neuron, self.kernel.surrogate
        facts: list[object] = [neuron.digest, self.io]
        if self.wanted is not None:
            facts += [surrogate.digest, self.kernel.detach_reset, self.wanted, self.deep]
        direction = "forward" if self.wanted is None else "backward"
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return f"{safe(neuron.name)}_{direction}_{digest}"

    @cached_property
    def body(self) -> str:
        """The text that is the same for every target."""
        step = self.kernel.step
        title = safe(self.kernel.neuron.name)
        if self.wanted is None:
            parts = _forward(step)
        else:
            title += f" with {safe(self.kernel.surrogate.name)}, {'detached' * self.kernel.detach_reset or 'attached'}"
            parts = _backward(step, self.kernel.adjoint(self.wanted), self.deep)
        template = _FORWARD if self.wanted is None else _BACKWARD
        return template.substitute(parts, title=f"{title}; {self.io}", name=self.name, io=TYPES[self.io])

    def source(self, target: str = "cuda") -> str:
        """Return the whole source for `cuda` or `host`."""
        return prelude(target) + self.body


def prelude(target: str) -> str:
    """Return what stands above the bodies: the macros of a target, then types and conversions common to all."""
    return f"// generated by snnkit for {target}\n{_MACROS[target]}{_COMMON}"


def source(
    kernel: Kernel,
    io: str = "float32",
    *,
    wanted: tuple[bool, ...] | None = None,
    every: int = 1,
    target: str = "cuda",
) -> str:
    """Return the generated source: the forward kernel, or with `wanted` the backward one.

    Args:
        kernel: what to generate for.
        io: `float32`, `bfloat16` or `float16`, the type of inputs and outputs.
        wanted: which parameters the backward kernel makes a gradient for.
        every: steps between two checkpoints.
        target: `cuda`, or `host` for C++ with the same body.
    """
    return Program(kernel, io, wanted, wanted is not None and every > STRETCH).source(target)


def _forward(step: Step) -> dict[str, str]:
    part = schedule.forward(step)
    constants = [*_params(step, part.once, part.body), *C.lines(part.once)]
    states = [f"float {name} = state[{k} * M + m];" for k, name in enumerate(step.before)]
    work = [*C.lines(part.body), f"snnkit_store(outputs + t * M + m, {step.output});", *_update(step)]
    save = [f"checkpoints[(piece * {len(step.before)} + {k}) * M + m] = {name};" for k, name in enumerate(step.before)]
    return {
        "parameters": _parameters(step),
        "load": _indent([*constants, *states], 8),
        "save": _indent(save, 12),
        "march": _indent(_march(work, _inputs(part.body), _LATER), 12),
        "keep": _indent([f"after[{k} * M + m] = {name};" for k, name in enumerate(step.before)], 8),
    }


def _backward(step: Step, adjoint: Adjoint, deep: bool) -> dict[str, str]:
    plan = schedule.backward(step, adjoint)
    part, again = plan.reverse, plan.replay
    load = [*_params(step, again.once, again.body, part.once, part.body), *C.lines(again.once)]
    load += [*C.lines(plan.scalars), *C.lines(part.once)]
    load += [f"float {name} = grad_after[{k} * M + m];" for k, name in enumerate(adjoint.grad_after)]
    load += [f"float total_{k} = 0.0f;" for k in range(len(adjoint.grad_params))]
    keep = [f"grad_start[{k} * M + m] = {name};" for k, name in enumerate(adjoint.grad_after)]
    keep += [f"grad_totals[{k} * M + m] = total_{k};" for k in range(len(adjoint.grad_params))]
    return {
        "parameters": _parameters(step, adjoint),
        "load": _indent(load, 8),
        "walk": _indent(_walk(step, adjoint, plan, deep), 8),
        "keep": _indent(keep, 8),
    }


def _walk(step: Step, adjoint: Adjoint, plan: schedule.Backward, deep: bool) -> list[str]:
    """Return the loops over time of the backward kernel."""
    again, reverse = plan.replay.body, plan.reverse.body
    kept, states = len(plan.kept), len(step.before)
    trace = [f"trace[(t - start) * {kept} + {k}]" for k in range(kept)]
    fetch = [f"const float {name} = {place};" for name, place in zip(plan.kept, trace, strict=True)]
    back = _march([*fetch, *_reverse(adjoint, reverse)], _inputs(reverse, adjoint), _EARLIER)
    if not kept:
        return _WITHOUT_STATES.substitute(reverse=_indent(back, 0)).split("\n")
    store = [f"{place} = {name};" for name, place in zip(plan.kept, trace, strict=True)]
    forth = [*C.lines(again), *_update(step)]
    replay = _march([*C.lines(again), *store, *_update(step)], _inputs(again), _LATER)
    restore = [f"float {name} = checkpoints[(piece * {states} + {k}) * M + m];" for k, name in enumerate(step.before)]
    if not deep:
        places = {"restore": _indent(restore, 8), "replay": _indent(replay, 8), "reverse": _indent(back, 4)}
        return _SHALLOW.substitute(places, kept=kept).split("\n")
    places = {
        "restore": _indent(restore, 12),
        "mark": _indent([f"marks[part * {states} + {k}] = {name};" for k, name in enumerate(step.before)], 20),
        "advance": _indent(_march(forth, _inputs(again), _LATER), 16),
        "resume": _indent([f"float {n} = marks[part * {states} + {k}];" for k, n in enumerate(step.before)], 16),
        "replay": _indent(replay, 16),
        "reverse": _indent(back, 12),
    }
    return _DEEP.substitute(places, kept=kept, states=states).split("\n")


def _march(work: Sequence[str], inputs: dict[str, str], direction: dict[str, str]) -> list[str]:
    """Return the loop over the steps from `start` to `stop`, or back; it reads `AHEAD` steps at once."""
    arrays = {name: f"{name}_ahead[k]" for name in inputs}
    loads = [f"{arrays[n]} = {direction['inside']} ? snnkit_wide({place}) : 0.0f;" for n, place in inputs.items()]
    declare = ", ".join(f"{name}_ahead[AHEAD]" for name in inputs)
    fetch = _FETCH.substitute(direction, declare=declare, loads=_indent(loads, 8)) if inputs else ""
    take = [f"const float {name} = {place};" for name, place in arrays.items()]
    text = _MARCH.substitute(direction, fetch=fetch, work=_indent([*take, *work], 12))
    return [line for line in text.split("\n") if line]


def _inputs(body: Iterable[Assign], adjoint: Adjoint | None = None) -> dict[str, str]:
    """Return what a step reads of the sequences: IR name to place in memory."""
    places = {"x": "inputs[t * x_step + m]"}
    if adjoint is not None:
        places[adjoint.grad_output] = "grad_outputs[t * g_step + m]"
    read = used(body)
    return {name: place for name, place in places.items() if name in read}


def _update(step: Step) -> list[str]:
    return [f"{name} = {after};" for name, after in zip(step.before, step.after, strict=True)]


def _reverse(adjoint: Adjoint, body: Sequence[Assign]) -> list[str]:
    """Return the lines of one backward step of one neuron."""
    lines = [*C.lines(body), f"snnkit_store(grad_inputs + t * M + m, {adjoint.grad_input});"]
    lines += [f"{name} = {grad};" for name, grad in zip(adjoint.grad_after, adjoint.grad_before, strict=True)]
    return lines + [f"total_{k} += {name};" for k, name in enumerate(adjoint.grad_params)]


def _parameters(step: Step, adjoint: Adjoint | None = None) -> str:
    """Return the arguments of a kernel that depend on the neuron: vectors with lengths, numbers of the surrogate."""
    pairs = [f"const float* SNNKIT_RESTRICT params_{k}, long long length_{k}," for k in range(len(step.params))]
    return "\n    ".join([*pairs, *(f"float {name}," for name in (adjoint.surrogate_params if adjoint else ()))])


def _params(step: Step, *bodies: Sequence[Assign]) -> list[str]:
    """Return the lines that fetch the parameters that these bodies read."""
    read = used(*bodies)
    return [
        f"const float {name} = snnkit_pick(params_{k}, length_{k}, m);"
        for k, name in enumerate(step.params)
        if name in read
    ]


def _indent(lines: Sequence[str], spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in lines)
