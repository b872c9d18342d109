"""scikit-learn estimators, exported by `gpu_ssl`."""
