"""Benchmarks: the same work by several implementations, measured in one run."""
