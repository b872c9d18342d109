"""Fault injection: results must be correct after kills, damage, concurrency and misuse."""
