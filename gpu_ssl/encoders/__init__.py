"""From images to features, without a label: one module an encoder; see `encoders.encoder`."""
