"""Actors: their turns come over a stream that the host opens, and their state is the sidecar's.

- `state.py`: what a guest reads and writes of its actor's state in one turn, and the transaction at the turn's end.

What a guest sees of all this is in abi/spec/dapr_v1.md, section 3.6.
"""
