"""Guests in processes of their own: a pool of workers, how they are confined, what goes between them and the server.

`pool` and `services` are the server's side, `worker`, `proxies` and `confine` the worker's, `wire` is both. What a
worker runs is the same sandbox as in a thread (`guests/sandbox.py`); here is only how it gets there.
"""
