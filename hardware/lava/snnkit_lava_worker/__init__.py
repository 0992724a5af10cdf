"""What runs in the Python 3.10 environment: networks of snnkit as Lava processes."""
