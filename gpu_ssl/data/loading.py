"""Loading a built-in data set by name."""

import numpy as np

from gpu_ssl.config import DataConfig
from gpu_ssl.data.catalog import find_spec
from gpu_ssl.data.image_set import Dataset, ImageSet
from gpu_ssl.data.sources import ensure_files
from gpu_ssl.runtime.progress import SILENT, Progress


def load_dataset(config: DataConfig, progress: Progress = SILENT) -> Dataset:
    """Load a data set by name, downloading missing files.

    Returns
    -------
    Dataset
        Training and test images, uint8 of shape (n, channels, height, width), with int64 labels.

    Raises
    ------
    UsageError
        If there is no data set of that name, or `data_dir` is not a folder.
    DataError
        If a file cannot be downloaded, or is damaged.
    """
    spec = find_spec(config.dataset)
    raw = spec.read(ensure_files(spec, config.data_dir, progress))
    train, test = (
        # torch shares memory only with writable arrays.
        ImageSet(np.require(images, requirements=["C", "W"]), labels.astype(np.int64), spec.class_names)
        for images, labels in (raw[:2], raw[2:])
    )
    return Dataset(spec.name, train, test, spec.mirrored)
