"""Methods to use the labels, one module each; see `methods.method`."""
