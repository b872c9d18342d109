"""The variational autoencoder: networks, objective, training, checkpoints, encoding."""
