"""Benchmarks of each phase, measured in fresh processes, with raw values recorded and compared."""
