"""The machine and the process: files' states, child processes, threads, freed memory. Knows nothing of the others."""
