"""scikit-learn estimators over the parts of gpu-ssl; `gpu_ssl` itself names them."""
