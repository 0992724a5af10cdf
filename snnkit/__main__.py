"""`python -m snnkit`."""

from snnkit.cli import main

main()
