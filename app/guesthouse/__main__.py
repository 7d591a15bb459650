"""`python -m guesthouse`: the same as the command `guesthouse`."""

from guesthouse.cli import main

main()
