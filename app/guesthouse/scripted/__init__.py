"""Guests without a sidecar: scripted answers to their calls, and the tests of a guest's folder.

- `tables.py`: a TOML file of this room, key by key, with a fault for each mistake;
- `messages.py`: Dapr's messages, made of tables and compared with them;
- `script.py`: the calls that a file expects, and a `sidecar.SidecarApi` that answers them;
- `actors.py`: an actor's state in memory, for one turn, and as a file that a person reads;
- `cases.py`: tests: an event, the calls that it leads to, and what must come of it;
- `junit.py`: how tests ended, for tools.

Which methods there are is in `dapr/api_methods.py`, what a guest was granted in `guests/capabilities/sidecar.py`. A
call that is not granted is refused here as behind a real sidecar.
"""
