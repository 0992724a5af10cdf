"""NeuroBench's metrics equal its harness's on networks that both read, and counting by hand on the others."""

import doctest

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit import deploy
from snnkit.deploy import Connection, Conv, Dense, IntegerNetwork, Population, Sparse, draw, workload
from snnkit.deploy.emulator.reference import pairs
from snnkit.errors import InputError
from snnkit.synapse import fold

CLOSE = 1e-6


def sparse_weights(net: nn.Module, share: float) -> nn.Module:
    """Put a share of all weights to 0, and make the others large enough for spikes."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= 6 * (torch.rand(parameter.shape, generator=generator) > share).float()
    return net


def spikes(*shape: int, share: float = 0.3) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(4)) < share).float()


LIF, IF = (lambda **k: snnkit.LIF(backend="reference", **k)), (lambda **k: snnkit.IF(backend="reference", **k))

NETWORKS = {
    "dense": (lambda: snnkit.Network(nn.Linear(20, 31), LIF(), nn.Linear(31, 5, bias=False), IF()), spikes(7, 3, 20)),
    "conv": (
        lambda: snnkit.Network(
            nn.Conv2d(2, 6, 3, padding=1), LIF(), nn.AvgPool2d(2), nn.Conv2d(6, 4, 3, stride=2, groups=2), LIF(),
            nn.Flatten(), nn.Linear(36, 10), LIF(),
        ),
        spikes(5, 2, 2, 16, 16),
    ),
    "analogue": (lambda: snnkit.Network(nn.Linear(20, 9), LIF(), nn.Linear(9, 5), LIF()), spikes(6, 3, 20) * 0.7),
    "one dimension": (
        lambda: snnkit.Network(nn.Conv1d(3, 4, 5, dilation=2), LIF(), nn.Flatten(), nn.Linear(32, 2), LIF()),
        -spikes(6, 3, 3, 16),
    ),
    "ANN": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4), nn.Sigmoid()),
        torch.rand((1, 5, 1, 8, 8), generator=torch.Generator().manual_seed(4)),
    ),
}  # fmt: skip


def harness(net: nn.Module, x: torch.Tensor) -> dict:
    """Return what NeuroBench's own metrics say of a network over time."""
    pytest.importorskip("neurobench", reason="NeuroBench's harness is not installed")
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import NeuroBenchModel

    class OverTime(NeuroBenchModel):
        def __init__(self) -> None:
            super().__init__()
            self.add_activation_module(snnkit.Spiking)

        def __net__(self) -> nn.Module:
            return net

        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            y = batch.transpose(0, 1)
            for layer in net.children():
                y = layer(y) if isinstance(layer, snnkit.Spiking) else fold(layer, y)
            return y.transpose(0, 1)

    model = OverTime()
    model.register_hooks()
    data = (x.transpose(0, 1), torch.zeros(x.shape[1]))
    with torch.no_grad():
        out = model(data[0])
        found = dict(SynapticOperations()(model, out, data))
    found["activation_sparsity"] = ActivationSparsity()(model, out, data)
    found["footprint"] = Footprint()(model)
    found["connection_sparsity"] = ConnectionSparsity()(model)
    model.cleanup_hooks()
    return found


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_metrics_equal_the_harnesss(name, share):
    build, x = NETWORKS[name]
    torch.manual_seed(0)
    net = sparse_weights(build(), share).eval()
    theirs, ours = harness(net, x), deploy.neurobench(net, x)
    assert ours.footprint == theirs["footprint"]
    assert round(ours.connection_sparsity, 4) == pytest.approx(theirs["connection_sparsity"], abs=CLOSE)
    assert ours.activation_sparsity == pytest.approx(theirs["activation_sparsity"], rel=CLOSE)
    assert ours.effective_macs == pytest.approx(theirs["Effective_MACs"], rel=CLOSE)
    assert ours.effective_acs == pytest.approx(theirs["Effective_ACs"], rel=CLOSE)
    assert ours.dense == pytest.approx(theirs["Dense"], rel=CLOSE)
    assert ours.effective_acs + ours.effective_macs > 0
    assert 0 < ours.activation_sparsity < 1


def test_a_snntorch_network_in_the_harnesss_own_wrapper_measures_alike():
    """The harness runs snnTorch's neurons step by step; the same network is measured here with our neurons."""
    pytest.importorskip("neurobench", reason="NeuroBench's harness is not installed")
    import snntorch
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import SNNTorchModel

    torch.manual_seed(3)
    layers = [sparse_weights(nn.Linear(20, 30, bias=False), 0.3), sparse_weights(nn.Linear(30, 6, bias=False), 0.3)]
    leaky = [snntorch.Leaky(0.5, reset_mechanism="zero", init_hidden=True, output=last) for last in (False, True)]
    theirs = nn.Sequential(layers[0], leaky[0], layers[1], leaky[1])
    lif = [LIF(tau=2.0, reset="hard", input_decay=False) for _ in range(2)]
    ours = snnkit.Network(layers[0], lif[0], layers[1], lif[1])
    x = spikes(9, 4, 20)
    model = SNNTorchModel(theirs)
    model.register_hooks()
    data = (x.transpose(0, 1), torch.zeros(4))
    with torch.no_grad():
        out = model(data[0])
        wanted = SynapticOperations()(model, out, data)
    sparsity = ActivationSparsity()(model, out, data)
    model.cleanup_hooks()
    assert torch.equal(out.transpose(0, 1), ours(x))
    found = deploy.neurobench(ours, x)
    assert found.effective_acs == pytest.approx(wanted["Effective_ACs"], rel=CLOSE)
    assert found.effective_macs == wanted["Effective_MACs"] == 0
    assert found.dense == pytest.approx(wanted["Dense"], rel=CLOSE)
    assert found.activation_sparsity == pytest.approx(sparsity, rel=CLOSE)
    assert round(found.connection_sparsity, 4) == pytest.approx(ConnectionSparsity()(model), abs=CLOSE)
    weights = sum(layer.weight.numel() * 4 for layer in layers)
    # What neurons keep beside the weights differs: parameters of the one, buffers of the other.
    assert found.footprint - _neurons(ours) == Footprint()(model) - _neurons(theirs) == weights


def _neurons(net: nn.Module) -> int:
    """Return the bytes that a network keeps beside its Linear layers."""
    kept = [t for m in net.children() if not isinstance(m, nn.Linear) for t in (*m.parameters(), *m.buffers())]
    return sum(tensor.numel() * tensor.element_size() for tensor in kept)


def test_operations_of_an_integer_network_equal_the_harnesss_layer_by_layer():
    """The harness reads its connections as torch layers, with the spikes that the emulator recorded."""
    layers = pytest.importorskip("neurobench.metrics.utils.layers", reason="NeuroBench's harness is not installed")
    for seed in (2, 4, 5, 11):
        chip = draw.spiking(draw.network(seed))
        x = (draw.spikes(chip, seed) != 0).int()
        passed = chip.record(x, [population.name for population in chip.populations]) | {"input": x}
        additions = dense = 0
        for connection in chip.connections:
            part = connection.synapses
            if isinstance(part, Conv):
                outputs, inputs = part.weight.shape[0], part.size[0]
                layer = nn.Conv2d(
                    inputs, outputs, part.weight.shape[2:], part.stride, part.padding, part.dilation, part.groups,
                    bias=False,
                )  # fmt: skip
                weight, shape = part.weight, part.size
            else:
                layer = nn.Linear(part.n_inputs, part.n_outputs, bias=False)
                weight, shape = pairs(connection)[0], (part.n_inputs,)
            layer.weight.data = torch.from_numpy(weight.astype(np.float32))
            inputs = passed[connection.source].float().reshape(-1, *shape)
            operations, spiking = layers.single_layer_MACs(inputs, layer)
            assert spiking
            additions += operations
            dense += layers.single_layer_MACs(inputs, layer, total=True)[0]
        ours = deploy.neurobench(chip, x)
        assert ours.effective_acs == pytest.approx(additions / x.shape[1], rel=CLOSE)
        assert ours.dense == pytest.approx(dense / x.shape[1], rel=CLOSE)
        assert ours.effective_macs == 0


@pytest.mark.parametrize("seed", range(8))
def test_additions_are_those_that_energy_charges(seed):
    chip = draw.spiking(draw.network(seed))
    x = (draw.spikes(chip, seed, steps=6) != 0).int()
    assert deploy.neurobench(chip, x).effective_acs == pytest.approx(deploy.energy(chip, x).accumulate, rel=CLOSE)


def test_docstrings_run():
    result = doctest.testmod(workload, extraglobs={"torch": torch, "nn": nn, "snnkit": snnkit})
    assert (result.attempted, result.failed) == (2, 0)


def test_layers_with_delays_and_recurrence_count_every_spike_and_weight():
    delayed = snnkit.DelayLinear(4, 3, max_delay=5, taps=2)
    recurrent = snnkit.Recurrent(IF(theta=1e-6), nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        delayed.weight.fill_(1.0)
        delayed.weight[0, 0, 0] = 0
        delayed.delay.zero_()
        recurrent.connection.weight.fill_(1.0)
    x = torch.zeros(6, 2, 4)
    x[0, 0, 0] = x[1, 1, 2] = 1
    ours = deploy.neurobench(snnkit.Network(delayed, recurrent), x)
    with torch.no_grad():
        fired = recurrent(delayed(x))
    assert ours.effective_acs == (5 + 6 + 3 * float(fired[:-1].sum())) / 2
    assert ours.dense == 6 * (4 * 3 * 2 + 9)
    assert ours.connection_sparsity == 1 / 33
    assert ours.activation_sparsity == float((fired == 0).double().mean())


def test_convolutions_with_delays_count_as_those_without():
    plain = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False)
    late = snnkit.DelayConv2d(2, 3, 3, stride=2, padding=1, max_delay=4)
    with torch.no_grad():
        plain.weight[0] = 0
        late.weight.copy_(plain.weight.unsqueeze(-1))
    x = spikes(4, 2, 2, 9, 8)
    wanted, found = (deploy.neurobench(snnkit.Network(layer, IF()), x) for layer in (plain, late))
    for name in ("effective_acs", "dense", "connection_sparsity"):
        assert getattr(found, name) == getattr(wanted, name)


def test_readouts_are_no_activations():
    net = snnkit.Network(nn.Linear(4, 3), IF(), nn.Linear(3, 2), snnkit.Readout(backend="reference"))
    x = spikes(5, 2, 4)
    assert deploy.neurobench(net, x).activation_sparsity == float((net.record(x)["1"] == 0).double().mean())


def test_an_integer_network_takes_its_bits():
    hidden = Population("h", (3,), du=4095, dv=[1, 2, 3], vth=100)
    last = Population("o", (2,), du=4095, dv=9, vth=100)
    rows = Sparse(3, np.array([0, 1, 3]), np.array([2, 0, 1]), np.array([64, 64, -64]), np.array([0, 3, 1]))
    connections = (
        Connection("a", "input", "h", Dense([[64, 0, 2, 2], [0, 0, 0, 0], [2, 2, 2, 2]]), bits=6),
        Connection("b", "h", "o", rows),
    )
    chip = IntegerNetwork((4,), (hidden, last), connections, read="v")
    x = torch.ones(5, 2, 4)
    ours = deploy.neurobench(chip, x)
    # Of 6 bits with a sign, the lowest two of eight are dropped, and 2 becomes 0.
    assert ours.connection_sparsity == (11 + 3) / (12 + 6)
    bits = 12 * 6 + 3 * (8 + 6) + (12 + 3 * 12 + 17 + 13 + 24) + (12 + 12 + 17 + 13 + 24)
    assert ours.footprint == -(-bits // 8)
    fired = chip.record(x, ["h"])["h"].float()
    assert ours.activation_sparsity == float((fired == 0).double().mean())
    assert ours.effective_acs == 5 + float((fired * torch.tensor([1, 1, 1])).sum()) / 2
    assert ours.dense == 5 * (12 + 6)


def test_graded_inputs_multiply():
    part = Population("o", (2,), du=4095, dv=9, vth=100)
    chip = IntegerNetwork((2,), (part,), (Connection("a", "input", "o", Dense([[2, 2], [0, 2]]), graded=True),))
    x = torch.tensor([[3, 0], [0, -7]]).view(2, 1, 2)
    ours = deploy.neurobench(chip, x)
    assert (ours.effective_macs, ours.effective_acs, ours.dense) == (3, 0, 8)


def test_a_report_is_a_line_and_plain_data():
    report = deploy.neurobench(snnkit.Network(nn.Linear(4, 3), IF()), spikes(5, 2, 4))
    assert str(report).startswith("NeuroBench, 2 sample(s) of 5 step(s): footprint ")
    assert report.to_dict()["dense"] == 5 * 12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deploy.neurobench(snnkit.Network(IF()), torch.ones(2, 1, 3)), "the network has no weights to count"),
        (lambda: deploy.neurobench(3, torch.ones(2, 1, 3)), "neurobench takes a snnkit.Network, .*, not int"),
        (lambda: deploy.neurobench(nn.Linear(3, 2), torch.ones(2, 3)), r"neurobench got shape \[2, 3\] and needs"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
