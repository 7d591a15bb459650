"""The Component Model's Canonical ABI: how values of WIT types cross between a guest and the host.

`texts` reads the interfaces' texts (the folder `wit`), `types` computes how each type lies in memory and in a call's
numbers, `functions` makes a host function of a Python function on values, and `exports` calls a guest's functions with
values. Nothing here knows what an interface means: that is in `imports/preview2`, and in `calling`.
"""
