"""From a neuron's equations to kernels: one lowering, one derivative, one file per backend."""
