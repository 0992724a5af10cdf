"""Baselines: the ANN that a spiking network is to be measured against."""

from snnkit.baseline.ann import count_parameters, counterpart, time_mean

__all__ = ["count_parameters", "counterpart", "time_mean"]
