"""snnkit: describe a spiking network once, simulate, train, convert and deploy it."""

__version__ = "0.1.0"
