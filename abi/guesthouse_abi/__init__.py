"""What a guest sees of its host: memory access, host functions, import modules and calling conventions.

Importable without the application (`guesthouse`); a worker process needs no more than this package and an engine.
"""
