"""Benchmarks: who does the same work faster, measured side by side in one run."""
