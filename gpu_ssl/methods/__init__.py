"""Ways to use the labels: one module a method; see `methods.method`."""
