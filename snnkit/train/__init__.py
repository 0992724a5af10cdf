"""Training: losses, recipes, the loop on Lightning Fabric, evaluation, initialisation and diagnosis."""
