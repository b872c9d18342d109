"""Support vector machines, one-vs-one over pairs of classes, kept as plain arrays."""
