"""Writes its standard input to its standard output."""

import sys

sys.stdout.buffer.write(sys.stdin.buffer.read())
