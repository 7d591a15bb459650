"""What Guesthouse is measured at, against the same work written by hand. `python -m bench --help`."""
