"""The chip's arithmetic: the reference by hand, and every kernel equal to the reference, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from host_target import GARBAGE, HostLibrary

from snnkit import deploy
from snnkit.codegen import cuda as launcher
from snnkit.deploy import draw, emulator
from snnkit.deploy.emulator import cpu, cuda, reference
from snnkit.errors import BackendError, InputError

SEEDS = range(60)


def _chain(*connections: deploy.Connection, vth: int = 100) -> deploy.IntegerNetwork:
    neurons = deploy.Population("n", (2,), du=4095, dv=0, vth=vth)
    return deploy.IntegerNetwork((2,), (neurons,), connections)


def _equal(found: deploy.IntegerNetwork, x: torch.Tensor, backend: str) -> None:
    names = [f"{p.name}{part}" for p in found.populations for part in ("", ".u", ".v")]
    expected, found_all = found.record(x, names, backend="reference"), emulator.run(found, x, None, names, backend)[0]
    for name in names:
        assert torch.equal(found_all[name], expected[name]), name
        assert found_all[name].dtype == expected[name].dtype
    half = len(x) // 2
    _, middle = found.run(x[:half], backend=backend)
    spikes, after = found.run(x[half:], middle, backend=backend)
    assert torch.equal(spikes, expected[found.output.name][half:])
    _, last = found.run(x, backend="reference")
    for name, parts in last.items():
        for part, value in parts.items():
            assert torch.equal(after[name][part], value), (name, part)


def test_a_neuron_by_hand() -> None:
    """u decays by 4096 - 1025, v by 4096 - 512; the membrane must exceed 64 * 100."""
    neurons = deploy.Population("n", (1,), du=1024, dv=512, vth=100, bias=-3, bias_exponent=2)
    chip = deploy.IntegerNetwork((1,), (neurons,), (deploy.Connection("c", "input", "n", deploy.Dense([[60]])),))
    found = chip.record(torch.tensor([1, 1, 0, 0]).view(4, 1, 1))
    assert found["n.u"].flatten().tolist() == [0, 3840, 2879 + 3840, 5037]
    assert found["n.v"].flatten().tolist() == [-12, -10 + 3840 - 12, 0, 5037 - 12]
    assert found["n"].flatten().tolist() == [0, 0, 1, 0]


def test_decay_rounds_towards_zero_and_currents_wrap_once() -> None:
    values = np.array([5, -5, 4096, -4097, 2**23 - 1, -(2**23) + 1], np.int32)
    assert reference.decay(values, np.int32(1)).tolist() == [4, -4, 4095, -4095, 8386559, -8386559]
    assert reference.decay(values, np.int32(0)).tolist() == values.tolist()
    assert not reference.decay(values, np.int32(4096)).any()
    wrapped = reference.wrap(np.array([2**23, 2**23 + 1, -(2**23), -(2**23) - 5, 3 * 2**23], np.int32))
    assert wrapped.tolist() == [2**23, 1 - 2**23, 2**23, 2**23 - 5, 2**23]


@pytest.mark.parametrize(
    ("sign", "bits", "expected"),
    [
        ("mixed", 8, [-256, -256, 254, 254, 0]),
        ("mixed", 6, [-256, -256, 248, 248, 0]),
        ("excitatory", 8, [0, 0, 255, 255, 1]),
        ("excitatory", 4, [0, 0, 240, 240, 0]),
        ("inhibitory", 8, [-255, -255, 0, 0, 0]),
        ("inhibitory", 4, [-240, -240, 0, 0, 0]),
    ],
)
def test_weights_are_clipped_and_lose_their_low_bits(sign: str, bits: int, expected: list[int]) -> None:
    synapses = deploy.Dense([[-300], [-255], [255], [300], [1]])
    connection = deploy.Connection("c", "input", "n", synapses, bits=bits, sign=sign)
    assert connection.effective.flatten().tolist() == expected


def test_a_spike_arrives_a_step_and_its_delay_later() -> None:
    synapses = deploy.Dense([[10, 0], [0, 20]], [[0, 0], [0, 3]])
    chip = _chain(deploy.Connection("c", "input", "n", synapses))
    x = torch.zeros(6, 1, 2)
    x[0] = 1
    traces = chip.record(x, ["n.u"])["n.u"][:, 0] // 64
    assert traces.tolist() == [[0, 0], [10, 0], [0, 0], [0, 0], [0, 20], [0, 0]]
    assert chip.latency == {"n": 1}


def test_the_floor_is_taken_of_the_sum_for_each_delay() -> None:
    for delay, expected in (([[0, 0], [0, 0]], 1), ([[0, 1], [0, 0]], 0)):
        chip = _chain(deploy.Connection("c", "input", "n", deploy.Dense([[2, 2], [2, 2]], delay), exponent=-2))
        u = chip.record(torch.ones(1, 1, 2).expand(2, 1, 2), ["n.u"])["n.u"]
        assert int(u[1, 0, 0]) == 64 * expected


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cpu_equals_the_reference(seed: int) -> None:
    chip = draw.network(seed)
    backend = "auto" if cpu.order(chip) is None else "cpu"
    _equal(chip, draw.spikes(chip, seed, batch=3), backend)


def test_the_draws_cover_what_they_should() -> None:
    chips = [draw.network(seed) for seed in SEEDS]
    kinds = {type(c.synapses).__name__ for chip in chips for c in chip.connections}
    assert kinds == {"Dense", "Sparse", "Conv"}
    assert sum(cpu.order(chip) is not None for chip in chips) > len(SEEDS) // 2
    assert any(c.source == c.target for chip in chips for c in chip.connections if cpu.order(chip) is not None)
    assert any(c.exponent < 0 < c.max_delay for chip in chips for c in chip.connections)
    assert any(c.graded for chip in chips for c in chip.connections)


def test_samples_and_threads_are_apart_from_each_other() -> None:
    chip = draw.network(1)
    x = draw.spikes(chip, 5, batch=9)
    whole, _ = chip.run(x)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(chip.run(x)[0], whole)
    finally:
        torch.set_num_threads(threads)
    for b in range(9):
        assert torch.equal(chip.run(x[:, b : b + 1])[0], whole[:, b : b + 1])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = draw.network(2)
    x = draw.spikes(chip, 5, batch=9)
    whole = chip.record(x)
    monkeypatch.setattr(cpu, "_CHUNK", 1)
    for name, value in chip.record(x).items():
        assert torch.equal(value, whole[name])


def test_the_answer_is_in_step_with_the_input() -> None:
    first = deploy.Population("a", (1,), du=4095, dv=4096, vth=1)
    last = deploy.Population("b", (1,), du=4095, dv=0, vth=131_071)
    into = deploy.Connection("ia", "input", "a", deploy.Dense([[2]]))
    onto = deploy.Connection("ab", "a", "b", deploy.Dense([[10]]))
    x = torch.tensor([0.0, 1, 0, 1]).view(4, 1, 1)
    chip = deploy.IntegerNetwork((1,), (first, last), (into, onto), read="v", scale=640.0)
    assert chip(x).flatten().tolist() == [0, 1, 1, 2]
    chip = deploy.IntegerNetwork((1,), (first,), (into,))
    assert chip(x).flatten().tolist() == x.flatten().tolist()


@pytest.mark.parametrize("values", [[0.0, 0.5], [0.0, 2.0], [0.0, -1.0], [0.0, float("nan")]])
def test_only_spikes_enter(values: list[float]) -> None:
    chip = _chain(deploy.Connection("c", "input", "n", deploy.Dense([[2, 2], [2, 2]])))
    with pytest.raises(InputError, match=r"its input is 0 and 1: encode it as spikes"):
        chip.run(torch.tensor(values).expand(3, 1, 2))


def test_spikes_of_any_dense_tensor_enter() -> None:
    chip = _chain(deploy.Connection("c", "input", "n", deploy.Dense([[2, 2], [2, 2]])))
    x = (torch.rand(5, 2, 2, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    expected = chip.run(x)[1]["n"]["v"]
    for other in (x.clone().requires_grad_(), x.bool(), x.half(), x.to(torch.int8)):
        assert torch.equal(chip.run(other)[1]["n"]["v"], expected) and expected.any()
    for broken in (x.to_sparse(), x.to("meta"), x.to(torch.complex64)):
        with pytest.raises(
            InputError, match=r"the input of the chip is torch.*; a dense tensor of whole numbers is ne"
        ):
            chip.run(broken)


def test_wrong_input_state_names_and_backends_are_named() -> None:
    chip = _chain(deploy.Connection("c", "input", "n", deploy.Dense([[2, 2], [2, 2]])))
    x = torch.zeros(3, 1, 2)
    with pytest.raises(InputError, match=r"the chip got \[3, 1, 4\] and needs a tensor \[T, B, 2\]"):
        chip.run(torch.zeros(3, 1, 4))
    with pytest.raises(InputError, match=r"nothing to record as 'm'.*known: n, n\.u, n\.v"):
        chip.record(x, ["m"])
    with pytest.raises(InputError, match=r"the state of this network is a dict of \['c', 'n'\], not \[\]"):
        chip.run(x, {})
    _, state = chip.run(x)
    with pytest.raises(InputError, match=r"the state of 'n' must hold .*; pass state=None to start afresh"):
        chip.run(torch.zeros(3, 2, 2), state)
    with pytest.raises(BackendError, match=r"no backend 'cpp'; did you mean 'cpu'\?"):
        chip.run(x, backend="cpp")
    with pytest.raises(BackendError, match=r"backend 'cuda' cannot run on cpu tensors"):
        chip.run(x, backend="cuda")
    twice = _chain(*(deploy.Connection(name, "n", "n", deploy.Dense([[2, 2], [2, 2]])) for name in ("c", "d")))
    with pytest.raises(BackendError, match=r"backend 'cpu' takes no loops of several populations"):
        twice.run(x, backend="cpu")
    assert twice.run(x)[0].shape == (3, 1, 2)


def test_a_convolution_keeps_to_what_is_exact() -> None:
    with pytest.raises(InputError, match=r"the weight of Conv holds 0\.\.1048577; -1048576\.\.1048576 is needed"):
        deploy.Conv(np.array([[[[0, 2**20 + 1]]]]), (1, 3, 3))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> HostLibrary:
    """Return the GPU's kernels compiled for the host."""
    return HostLibrary(
        tmp_path_factory.mktemp("chip"),
        cuda.SUM.source("host"),
        "-O1",
        GARBAGE,
        "-fsanitize=undefined",
        "-fno-sanitize-recover",
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_gpus_body_on_the_host_equals_the_reference(
    seed: int, library: HostLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "launch", library.launch)
    monkeypatch.setattr(
        emulator, "_runner", lambda chip, x, backend: reference.run if backend == "reference" else cuda.run
    )
    chip = draw.network(seed)
    _equal(chip, draw.spikes(chip, seed, steps=12, batch=3), "auto")


@pytest.mark.gpu
@pytest.mark.parametrize("seed", SEEDS)
def test_a_gpu_equals_the_reference(seed: int) -> None:
    chip = draw.network(seed)
    x = draw.spikes(chip, seed, batch=3)
    names = [f"{p.name}{part}" for p in chip.populations for part in ("", ".u", ".v")]
    expected, state = emulator.run(chip, x, None, names, "reference")
    found, after = emulator.run(chip, x.cuda(), None, names, "cuda")
    for name in names:
        assert torch.equal(found[name].cpu(), expected[name]), name
    for name, parts in state.items():
        for part, value in parts.items():
            assert torch.equal(after[name][part].cpu(), value), (name, part)
