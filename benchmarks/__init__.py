"""Comparisons that are no part of the compiler: rivals counted by the same yardstick, and its trust check."""
