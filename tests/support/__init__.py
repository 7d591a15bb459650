"""What the tests of many rooms share, and no product has: waiting, doubles. `from support.waiting import until`."""
