"""Tuning: which knobs of a kernel are fastest on a processor, found by trying them there.

tasks       the different kernels of networks, each with the knobs that it may have
hints       knobs that are good for a kernel elsewhere
search      which knobs to try next: MetaSchedule's evolutionary search with a learned cost model
candidates  a kernel with given knobs as a small library, compiled exactly as in a network
workers     processes that may crash or hang
trials      what a worker does: build a candidate; check and time it, here or on a board; price it
judges      who tries candidates: this machine, boards over RPC, the model of a core
tuner       all of it, task by task
"""
