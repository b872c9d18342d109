"""Encoders: maps from images to features, fitted without labels, one module each; see `encoders.encoder`."""
