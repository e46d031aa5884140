"""Commands: what they take and print, one a file.  `python -m tvm_shufflenet.NAME` runs `NAME.py`."""
