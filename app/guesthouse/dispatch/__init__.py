"""One event's way from any transport to its guest and back: see `dispatcher`."""
