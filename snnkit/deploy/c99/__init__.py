"""Integer networks as C99: plain arrays and a step function, without allocation, for microcontrollers."""

from snnkit.deploy.c99.folder import Export, check, measure, save

__all__ = ["Export", "check", "measure", "save"]
