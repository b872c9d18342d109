from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from gpu_ssl.config import LearningConfig, ModelConfig, TrainConfig
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders

CPU = torch.device("cpu")
CONFIG = LearningConfig(model=ModelConfig(latent_dim=16), train=TrainConfig(epochs=2, precision="float32"))


def photographs(side: int) -> NDArray[np.uint8]:
    """Cut two colour photographs into tiles, (n, 3, side, side)."""
    tiles = []
    for photograph in load_sample_images().images:
        height, width = (length // side * side for length in photograph.shape[:2])
        grid = photograph[:height, :width].reshape(height // side, side, width // side, side, 3)
        tiles.append(grid.transpose(0, 2, 4, 1, 3).reshape(-1, 3, side, side))
    return np.concatenate(tiles)


def fitted(
    pixels: NDArray[np.uint8], folder: Path, *names: str, config: LearningConfig = CONFIG, sha256: str = ""
) -> dict[str, Encoder]:
    """Fit encoders to images, with a checkpoint in `folder`."""
    images = TrainingImages(pixels, CPU, False, sha256)
    return fit_encoders(names, images, Training(config, folder / "checkpoint.json"))
