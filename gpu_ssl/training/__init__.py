"""Training of networks: batches, augmentation, optimizers, objectives, trainers."""
