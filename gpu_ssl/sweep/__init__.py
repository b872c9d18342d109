"""Many runs, over data sets, methods, labels, seeds and settings, on the workers of a Dask cluster."""
