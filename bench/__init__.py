"""The benchmarks: Guesthouse is compared with the same work written by hand. See `python -m bench --help`."""
