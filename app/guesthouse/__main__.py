"""`python -m guesthouse` is `guesthouse`."""

from guesthouse.cli import main

main()
