"""What the demo trains, and how its settings were chosen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The settings of the demo.

    All were chosen by validation accuracy, mean of three to five seeds, each around the others' best, before the test
    samples were looked at: steps of 8, 10, 12, 16; 128, 192, 256 hidden neurons; membrane constants of 4 to 20 steps
    with and without division of the input; learning rates of 0.002 to 0.02 for either network; 12 to 60 epochs; bounds
    on the firing rate, dropout and stronger weight decay (none helped); training images as they are, or also moved by
    a half or a whole pixel (half helped both networks most).

    Args:
        seeds: of the first weights and of the order of samples; one pair of networks for each.
        epochs: passes over the training images and their moved copies.
        quick: whether epochs are fewer than they should be, to see that everything works.
        steps: time steps T of the spike code, in which brighter pixels fire earlier.
        hidden: neurons of the hidden layer.
        tau: membrane time constant of hidden neurons and readout, in steps.
        rate: spikes per step and hidden neuron that the first weights are scaled to.
        lr: learning rate at the start, of either network.
        weight_decay: of either network.
        batch_size: samples per optimiser step.
        shift: how far training images are also moved in each of four directions, in pixels.
    """

    seeds: tuple[int, ...] = (0,)
    epochs: int = 15
    quick: bool = False
    steps: int = 10
    hidden: int = 192
    tau: float = 20.0
    rate: float = 0.1
    lr: float = 0.02
    weight_decay: float = 0.01
    batch_size: int = 64
    shift: float = 0.5


def plan(seeds: int, *, quick: bool) -> Plan:
    """Return the plan for a number of seeds; `quick` trains for a fifth of the epochs."""
    numbers = tuple(range(seeds))
    return Plan(seeds=numbers, epochs=3, quick=True) if quick else Plan(seeds=numbers)
