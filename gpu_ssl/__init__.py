"""Image classification from few labels: a VAE learns from all images, an SVM from the labelled few."""

__version__ = "0.1.0"
