"""Boards over TVM RPC: sessions with them, the processor behind one, and what keeps its server alive.

- `crashes`: keeps a board's RPC server alive when code that is tried there crashes: see crashes.c.
- `processor`: which processor runs behind a session, or here: emulated and unknown ones get no latency.
- `rpc`: sessions with boards over TVM RPC: a time-out and one clear line for each way they fail.
"""
