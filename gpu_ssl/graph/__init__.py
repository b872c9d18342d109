"""The graph of nearest neighbours in feature space, and label propagation on it."""
