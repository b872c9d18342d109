"""How networks are trained: batches, augmentation, optimizers, objectives, trainers."""
