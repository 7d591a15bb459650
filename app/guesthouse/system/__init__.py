"""The machine and the process: states of files, child processes, threads, freed memory. Imports no other room."""
