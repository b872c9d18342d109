"""The graph of nearest neighbours in feature space, and label spreading on it."""
