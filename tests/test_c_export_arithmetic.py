"""The chip's arithmetic as C text equals the reference, at every edge, and leaves nothing undefined."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from snnkit.deploy import Population
from snnkit.deploy.emulator import c_text, reference

STRICT = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion"]
TRAPS = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined", "-fsanitize-undefined-trap-on-error"]
EDGES = [s * (2**k + d) for k in (0, 8, 12, 22, 23, 24, 30) for d in (-1, 0, 1) for s in (-1, 1)]
WORDS = np.array([*EDGES, -(2**31), 2**31 - 1])


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("c")
    (folder / "text.c").write_text("#include <stdint.h>\n" + c_text.helpers(inline=""))
    subprocess.run([compiler, *STRICT, *TRAPS, "-shared", "-fPIC", "-o", "text.so", "text.c"], cwd=folder, check=True)
    found = ctypes.CDLL(str(folder / "text.so"))
    found.shift.argtypes = [ctypes.c_int64, ctypes.c_int]
    found.sum24.argtypes = [ctypes.c_uint32]
    return found


def low(values) -> np.ndarray:
    return np.asarray(values, np.int64).astype(np.int32)


def test_decay_rounds_towards_zero(library):
    for by in (0, 1, 2, 77, 4095, 4096):
        wanted = low(reference.decay(WORDS, np.array(by)))
        assert [library.decay(int(word), by) for word in WORDS] == wanted.tolist()


def test_a_current_wraps_once(library):
    assert [library.wrap24(int(word)) for word in WORDS] == reference.wrap(low(WORDS)).tolist()


def test_sums_are_shifted_down_to_their_floor(library):
    sums = np.concatenate([WORDS, 37 * WORDS])
    for exponent in (-8, -1, 0, 1, 17):
        wanted = low(sums << exponent if exponent > 0 else sums >> -exponent)
        assert [library.shift(int(total), exponent) for total in sums] == wanted.tolist()


def test_sums_of_convolutions_are_put_into_24_bits(library):
    wanted = (WORDS + 2**23) % 2**24 - 2**23
    assert [library.sum24(int(word) % 2**32) for word in WORDS] == wanted.tolist()


def test_a_neuron_steps_as_the_reference_does(library):
    draw = np.random.default_rng(0)
    n = 2000
    words = draw.choice(np.concatenate([WORDS, draw.integers(-(2**24), 2**24, 200)]), (3, n))
    population = Population(
        "p", (n,), du=draw.integers(-1, 4096, n), dv=draw.integers(0, 4097, n), vth=draw.integers(0, 131_072, n),
        bias=draw.integers(-4096, 4096, n), bias_exponent=7,
    )  # fmt: skip
    state = {"u": low(words[:1]), "v": low(words[1:2])}
    fired = reference.neurons(population, state, low(words[2:]))
    for k in range(n):
        u, v = ctypes.c_int32(int(words[0, k])), ctypes.c_int32(int(words[1, k]))
        constants = [int(c) for c in (population.du[k], population.dv[k], population.bias[k] << 7, population.vth[k])]
        s = library.neuron_step(ctypes.byref(u), ctypes.byref(v), int(words[2, k]), *constants)
        assert (s, u.value, v.value) == (fired[0, k], state["u"][0, k], state["v"][0, k])
