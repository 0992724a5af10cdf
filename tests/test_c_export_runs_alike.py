"""An exported network compiles without a warning, gives the emulator's spikes, and notices when it was changed."""

import ctypes
import random
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from corruption import corrupt
from torch import nn

import snnkit
from snnkit.deploy import Connection, Conv, Dense, IntegerNetwork, Population, Sparse, c99, draw
from snnkit.errors import BackendError, FileError, InputError

GCC = shutil.which("gcc")
STRICT = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"]
TRAPS = ["-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
pytestmark = pytest.mark.skipif(GCC is None, reason="no gcc")

DRIVER = """
#include "network.h"
void drive(const network_input *x, uint8_t *spikes, int32_t *v, uint32_t samples, uint32_t steps);
void drive(const network_input *x, uint8_t *spikes, int32_t *v, uint32_t samples, uint32_t steps)
{
    static network_state state;
    uint32_t sample, step, k;
    for (sample = 0; sample < samples; ++sample) {
        network_start(&state);
        for (step = 0; step < steps; ++step) {
            network_step(&state, x);
            x += NETWORK_INPUTS;
            for (k = 0; k < NETWORK_OUTPUTS; ++k) {
                *spikes++ = network_spikes(&state)[k];
                *v++ = network_membranes(&state)[k];
            }
        }
    }
}
"""


def compiled(folder, *flags: str) -> subprocess.CompletedProcess:
    """Compile the self-test, without looking at sums, and run it."""
    words = [str(GCC), *STRICT, *flags, "-o", "selftest", "selftest.c", "network.c"]
    subprocess.run(words, cwd=folder, check=True)
    return subprocess.run(["./selftest"], cwd=folder, capture_output=True, text=True, check=False)


def small(seed: int = 0) -> IntegerNetwork:
    """Return a network of 64-32-10 neurons with delays, recurrence, zeros and a floor of its sums."""
    pick = np.random.default_rng(seed)
    hidden = Population("1", (32,), du=4095, dv=400, vth=pick.integers(200, 900, 32), bias=3)
    last = Population("3", (10,), du=2000, dv=300, vth=700)
    dense = pick.integers(-120, 121, (32, 64)) * (pick.random((32, 64)) < 0.9)
    listed = pick.random((10, 32)) < 0.4
    rows, columns = np.nonzero(listed)
    weight = pick.integers(-200, 255, len(rows))
    late = Sparse(32, np.searchsorted(rows, np.arange(11)), columns, weight, pick.integers(0, 9, len(rows)))
    connections = (
        Connection("0", "input", "1", Dense(dense)),
        Connection("back", "1", "1", Dense(pick.integers(-60, 30, (32, 32))), exponent=-3),
        Connection("2", "1", "3", late, exponent=1, bits=6),
    )
    return IntegerNetwork((64,), (hidden, last), connections)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    return c99.save(small(), folder)


def test_spikes_and_membranes_are_identical_on_1000_samples(exported):
    folder = exported.folder
    (folder / "driver.c").write_text(DRIVER)
    words = [str(GCC), *STRICT, "-O2", "-shared", "-fPIC", "-o", "network.so", "driver.c", "network.c"]
    subprocess.run(words, cwd=folder, check=True)
    x = (torch.rand((16, 1000, 64), generator=torch.Generator().manual_seed(1)) < 0.2).to(torch.uint8)
    rows = np.ascontiguousarray(x.transpose(0, 1).numpy())
    spikes, v = np.full((1000, 16, 10), 9, np.uint8), np.zeros((1000, 16, 10), np.int32)
    pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (rows, spikes, v))
    ctypes.CDLL(str(folder / "network.so")).drive(*pointers, 1000, 16)
    wanted = small().record(x, ["3", "3.v"])
    assert torch.equal(torch.from_numpy(spikes).transpose(0, 1), wanted["3"])
    assert torch.equal(torch.from_numpy(v).transpose(0, 1), wanted["3.v"])
    assert 0.05 < wanted["3"].float().mean() < 0.9


@pytest.mark.parametrize("seed", [*range(12), 23, 35])
def test_random_networks_run_alike_with_nothing_undefined(tmp_path, seed):
    chip = draw.network(seed)
    c99.save(chip, tmp_path, x=draw.spikes(chip, seed, steps=25))
    done = compiled(tmp_path, *TRAPS)
    assert (done.returncode, done.stdout) == (0, "selftest: 2 samples of 25 steps agree\n"), done.stderr


def test_large_numbers_are_rounded_down_after_all_are_summed(tmp_path):
    weight = np.array([[255, 254, 3], [-255, -254, -3]])
    part = Population("out", (2,), du=100, dv=100, vth=100_000)
    chip = IntegerNetwork((3,), (part,), (Connection("in", "input", "out", Dense(weight), exponent=-8, graded=True),))
    x = torch.tensor([2**23, 2**23, 2**23, -(2**23), -7, 5]).int().view(2, 1, 3)
    c99.save(chip, tmp_path, x=x)
    assert "int64_t gathered_int64_t[2]" in (tmp_path / "network.h").read_text()
    assert compiled(tmp_path, *TRAPS).returncode == 0


def test_a_population_that_nothing_reaches_and_an_input_that_goes_nowhere_compile(tmp_path):
    alone = Population("1.lif", (3,), du=4095, dv=100, vth=5, bias=9, bias_exponent=3, v_start=[1, -2, 3])
    chip = IntegerNetwork((2,), (alone,), (), read="v", scale=64.0)
    c99.save(chip, tmp_path)
    assert "membranes, 64 for 1" in (tmp_path / "network.h").read_text()
    assert compiled(tmp_path, *TRAPS).returncode == 0


def test_a_quantised_network_runs_alike_on_1000_samples(tmp_path):
    torch.manual_seed(0)
    lif, cuba = (kind(reset="hard", backend="reference") for kind in (snnkit.LIF, snnkit.CubaLIF))
    late = snnkit.DelayLinear(64, 24, max_delay=9, bias=True)
    last = nn.Linear(24, 10), snnkit.Readout(backend="reference")
    net = snnkit.Network(nn.Conv2d(1, 4, 3, padding=1), lif, nn.AvgPool2d(2), nn.Flatten(), late, cuba, *last)
    with torch.no_grad():
        net[0].weight.mul_(4.0)
        late.weight.mul_(4.0)
        late.bias.fill_(0.1)
    x = (torch.rand((12, 1000, 1, 8, 8), generator=torch.Generator().manual_seed(1)) < 0.3).float()
    chip = snnkit.deploy.quantise(net, calibration=x[:, :100])
    rates = [float(s.float().mean()) for s in chip.record(x[:, :100], ["1", "5"]).values()]
    assert min(rates) > 0.01, rates
    c99.save(chip, tmp_path, x=x)
    assert compiled(tmp_path).stdout == "selftest: 1000 samples of 12 steps agree\n"
    c99.check(tmp_path)


def test_make_checks_compiles_and_measures(exported):
    done = subprocess.run(["make"], cwd=exported.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("selftest: 4 samples of 32 steps agree\n")
    sizes = subprocess.run(["make", "size"], cwd=exported.folder, capture_output=True, text=True, check=True)
    code, data, bss = map(int, sizes.stdout.splitlines()[-1].split()[:3])
    assert c99.measure(exported.folder) == {"code": code, "data": data, "bss": bss}
    assert code > exported.constant_bytes
    assert data == bss == 0


def test_nothing_but_memset_is_needed(exported):
    subprocess.run([str(GCC), *STRICT, "-c", "network.c"], cwd=exported.folder, check=True)
    names = subprocess.run(["nm", "-u", "network.o"], cwd=exported.folder, capture_output=True, text=True, check=True)
    assert set(re.findall(r"U (\w+)", names.stdout)) <= {"memset"}


def test_weights_take_a_byte_and_zeros_nothing(tmp_path):
    pick = np.random.default_rng(0)
    part = Population("out", (40,), du=4095, dv=400, vth=300)

    def constants(synapses, **options) -> int:
        chip = IntegerNetwork((30,), (part,), (Connection("in", "input", "out", synapses, **options),))
        return c99.save(chip, tmp_path).constant_bytes

    full = pick.integers(1, 120, (40, 30)) * pick.choice([-2, 2], (40, 30))
    assert constants(Dense(full)) == 40 * 30
    assert constants(Dense(abs(full) + 1), sign="excitatory") == 40 * 30
    assert constants(Dense(full, pick.integers(0, 63, (40, 30)))) == 2 * 40 * 30
    thin = full * (pick.random((40, 30)) < 0.1)
    assert constants(Dense(thin)) == 2 * np.count_nonzero(thin) + 31
    image = Population("out", (4, 8, 8), du=4095, dv=400, vth=300)
    conv = Conv(pick.integers(-100, 100, (4, 2, 3, 3)) | 1, (2, 8, 8), padding=(1, 1))
    chip = IntegerNetwork((2, 8, 8), (image,), (Connection("in", "input", "out", conv),))
    saved = c99.save(chip, tmp_path)
    assert (saved.constant_bytes, saved.state_bytes) == (4 * 2 * 9, 256 * (4 + 4 + 1))
    assert str(saved).endswith("72 bytes of constants and 2,304 bytes of state; type make in it to compile and test")


def test_the_selftest_fails_when_any_array_was_changed(tmp_path):
    c99.save(small(), tmp_path)
    text = (tmp_path / "network.c").read_text()
    arrays = list(re.finditer(r"^static const (u?int\d+_t) (\w+)\[\d+\] = \{\n(.*?)\n\};", text, re.M | re.S))
    assert {"w_0", "w_2", "start_2", "target_2", "delay_2", "vth_0"} <= {match[2] for match in arrays}
    pick = random.Random(0)
    for match in arrays:
        place = pick.choice([m.span() for m in re.finditer(r"-?\d+", match[3])])
        first, end = (match.start(3) + k for k in place)
        other = str(int(text[first:end]) ^ 1)
        (tmp_path / "network.c").write_text(text[:first] + other + text[end:])
        done = compiled(tmp_path, "-O0")
        assert done.returncode == 1, match[2]
        assert "the constants of network.c are not those that were exported" in done.stdout


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("arithmetic.h", "4096 - by) / 4096", "4095 - by) / 4096"),
        ("arithmetic.h", "vth * 64", "vth * 32"),
        ("network.c", "now + 1u < 9u ? now + 1u : 0u", "now + 1u < 9u ? now + 1u : 1u"),
    ],
)
def test_the_selftest_fails_when_the_code_was_changed(tmp_path, name, old, new):
    c99.save(small(), tmp_path)
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    done = compiled(tmp_path)
    assert done.returncode == 1
    assert re.search(r"selftest: \d of 4 samples differ", done.stdout)


def test_random_corruption_of_every_file_is_refused(tmp_path):
    """A changed folder is refused before anything is compiled; a file that reads the same is identical."""
    saved = c99.save(small(), tmp_path)
    pick = random.Random(7)
    refused = 0
    for name in saved.files:
        good = (tmp_path / name).read_bytes()
        for _ in range(60):
            bad = corrupt(good, pick)
            (tmp_path / name).write_bytes(bad)
            if bad == good:
                c99.check(tmp_path)
                continue
            with pytest.raises(FileError, match=r"has changed since it was written|is not what an export writes"):
                c99.check(tmp_path)
            refused += 1
        (tmp_path / name).write_bytes(good)
    assert refused > 300
    (tmp_path / "network.c").write_text((tmp_path / "network.c").read_text().replace("0u", "1u", 1))
    done = subprocess.run(["make"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "network.c: FAILED" in done.stdout


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda p: c99.save(snnkit.LIF(), p), InputError, "c99.save takes a network in the chip's integers, not Spi"),
        (lambda p: c99.save(small(), p, x=torch.ones(2, 1, 3)), InputError, r"the chip got \[2, 1, 3\] and needs"),
        (lambda p: c99.save(small(), p / "SHA256SUMS" / "in"), FileError, "in cannot be written: Not a directory"),
        (lambda p: c99.check(p / "none"), FileError, "SHA256SUMS cannot be read: No such file"),
        (lambda p: c99.measure(p, compiler="no-such-gcc"), BackendError, "no C compiler no-such-gcc on the PATH"),
        (lambda p: c99.measure(p, compiler="false"), BackendError, "false failed: 1"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, call, kind, message):
    c99.save(small(), tmp_path)
    with pytest.raises(kind, match=message):
        call(tmp_path)


def test_an_export_replaces_an_earlier_one(tmp_path):
    c99.save(small(0), tmp_path)
    c99.save(small(1), tmp_path)
    c99.check(tmp_path)
    assert compiled(tmp_path).returncode == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
