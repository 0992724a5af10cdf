"""Data: encoders, cards and the loaders that read them."""
