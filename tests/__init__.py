"""Tests; `python -m pytest`."""
