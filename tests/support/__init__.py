"""What the tests of many rooms share: waiting, doubles, ports, manifests, a guarded memory. No tests are here."""
