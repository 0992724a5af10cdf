"""Delayed sums: y[t, o] = sum of weight * x[t - lag, i], by the method that costs least."""

from snnkit.synapse.delayed.methods import METHODS, Problem, choose, costs, delayed

__all__ = ["METHODS", "Problem", "choose", "costs", "delayed"]
