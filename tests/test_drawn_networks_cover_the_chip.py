"""Networks drawn at random have everything that a chip has, and every backend runs them alike."""

import pytest
import torch

from snnkit.deploy import draw
from snnkit.deploy.emulator import reference
from snnkit.deploy.integer import V_LIMIT
from snnkit.deploy.synapses import Conv, Dense, Sparse

SEEDS = range(60)


@pytest.fixture(scope="module")
def drawn():
    return [draw.network(seed) for seed in SEEDS]


def test_they_have_all_that_a_chip_has(drawn) -> None:
    connections = [part for chip in drawn for part in chip.connections]
    assert {type(part.synapses) for part in connections} == {Dense, Sparse, Conv}
    assert {part.sign for part in connections} == {"mixed", "excitatory", "inhibitory"}
    assert {part.bits for part in connections} >= {4, 5, 6, 7, 8}
    assert {part.exponent for part in connections} >= {-8, -1, 0, 1, 16, 17}
    assert max(part.max_delay for part in connections) == 62
    assert any(part.source == part.target for part in connections)
    assert any(part.graded for part in connections) and not all(part.graded for part in connections)
    assert any(not part.synapses.weight.size for part in connections)


def test_a_seed_draws_the_same_network_again(drawn) -> None:
    again, x = draw.network(7), draw.spikes(drawn[7], 7)
    assert torch.equal(x, draw.spikes(again, 7))
    assert torch.equal(drawn[7].run(x)[0], again.run(x)[0])


def test_their_currents_wrap_and_their_membranes_clip(drawn) -> None:
    wrapped = clipped = fired = 0
    for seed, chip in zip(SEEDS, drawn, strict=True):
        found = chip.record(draw.spikes(chip, seed, steps=20))
        for population in chip.populations:
            wrapped += int((found[f"{population.name}.u"].abs() > 2**22).sum())
            clipped += int((found[f"{population.name}.v"].abs() == V_LIMIT).sum())
            fired += int(found[population.name].sum())
    assert wrapped > 100 and clipped > 100 and fired > 1000


@pytest.mark.parametrize("seed", range(20))
def test_every_backend_runs_them_alike(seed: int, drawn) -> None:
    chip = drawn[seed]
    x = draw.spikes(chip, seed, steps=20)
    ours, theirs = chip.record(x), chip.record(x, backend="reference")
    for name, trace in theirs.items():
        assert torch.equal(ours[name], trace), name
    state, expected = chip.run(x)[1], chip.run(x, backend="reference")[1]
    for name, parts in expected.items():
        for part, value in parts.items():
            assert torch.equal(state[name][part], value), (name, part)


def test_networks_without_graded_parts() -> None:
    chip = next(chip for chip in map(draw.network, SEEDS) if any(part.graded for part in chip.connections))
    plain = draw.spiking(chip)
    assert not any(part.graded for part in plain.connections)
    assert set(draw.spikes(plain, 0).unique().tolist()) == {0, 1}


def test_the_reference_wraps_once() -> None:
    u = torch.tensor([2**23, 2**23 + 1, -(2**23), -(2**23) + 1]).numpy()
    assert reference.wrap(u).tolist() == [2**23, 1 - 2**23, 2**23, 1 - 2**23]
