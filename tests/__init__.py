"""Tests; `python -m pytest`.  The folders are those of the package; what tests share is beside them."""
