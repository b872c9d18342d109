"""torch modules: the VAE's networks, the classifier, M2."""
