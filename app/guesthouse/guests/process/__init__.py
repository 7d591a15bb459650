"""Guests in worker processes: which worker answers an event, how workers are confined, what goes to and fro.

In the server are `stock` (workers that no guest has yet), `pool` (those of one guest), `remote` (one worker) and
`answers` (to its questions). In the worker are `worker`, `confine` and `syscalls`. Both have `wire`, `codec` and
`sealed`. A worker runs the same sandbox as a thread does (`guests/sandbox.py`); here is only how events get there.
"""
