"""A cache of trained encoders, which later fits to the same images reuse.

An encoder depends on the images, the settings and the number of threads, not on the labels. On the CPU, a
cached encoder equals the result of training again.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from gpu_ssl import catalog
from gpu_ssl.config import LearningConfig
from gpu_ssl.encoders.encoder import Encoder
from gpu_ssl.encoders.fitting import TrainingImages
from gpu_ssl.encoders.saving import EncoderRecord, build_encoder, describe_encoder
from gpu_ssl.encoders.vae import VAEEncoder
from gpu_ssl.errors import GpuSslError, StorageError
from gpu_ssl.records import Record, TrainingRecord
from gpu_ssl.runtime import state
from gpu_ssl.runtime.cache import cache_folder, cache_folders, forget_old, mark_used
from gpu_ssl.runtime.device import resolve_precision
from gpu_ssl.runtime.environment import release

logger = logging.getLogger(__name__)

KIND = "encoders"
"""Folder of the cache."""


class KeptEncoder(Record):
    """A cached encoder, and the record of its training."""

    encoder: EncoderRecord
    training: TrainingRecord | None


KEPT = state.Kind("gpu-ssl kept encoder", 1, KeptEncoder, "it will be trained again")


def load_kept(names: Iterable[str], images: TrainingImages, config: LearningConfig) -> list[Encoder]:
    """Return the encoders cached by earlier fits to the same images, on the device of the images.

    Parameters
    ----------
    names : iterable of str
        Encoder names of the catalog.
    images : TrainingImages
        Training images.
    config : LearningConfig
        Training settings.
    """
    found = []
    for name in names:
        for folder in cache_folders(KIND):
            encoder = _load(folder / _file_name(name, images, config))
            if encoder is not None:
                found.append(encoder.to(images.device))
                break
    return found


def keep(encoders: Mapping[str, Encoder], images: TrainingImages, config: LearningConfig) -> None:
    """Save encoders to the cache; do nothing if it cannot be written.

    Parameters
    ----------
    encoders : mapping of str to Encoder
        Encoders trained on `images` with `config`.
    images, config
        See `load_kept`.
    """
    try:
        folder = cache_folder(KIND, temporary=False)
        forget_old(folder)
        for name, encoder in encoders.items():
            training = encoder.training_record if isinstance(encoder, VAEEncoder) else None
            kept = KeptEncoder(
                encoder=EncoderRecord.model_validate(describe_encoder(encoder)), training=training
            )
            path = folder / _file_name(name, images, config)
            state.save(path, KEPT, kept, dict(encoder.state_dict()))
    except GpuSslError:
        return


def _load(path: Path) -> Encoder | None:
    if not path.is_file():
        return None
    try:
        kept, tensors = state.load(path, KEPT)
        with state.built(path, KEPT):
            encoder = build_encoder(kept.encoder.model_dump(), tensors)
        if isinstance(encoder, VAEEncoder):
            encoder.training_record = kept.training
    except StorageError as error:
        logger.info("%s", error)
        return None
    mark_used(path, *path.parent.glob(f"{path.stem}-*.safetensors"))
    return encoder


def _file_name(name: str, images: TrainingImages, config: LearningConfig) -> str:
    """Return a file name with a hash of everything that determines what an encoder learns."""
    learned_from = {
        "gpu_ssl": release(),
        "torch": torch.__version__,
        "encoder": name,
        "images": images.sha256,
        "mirrored": images.mirrored,
        "device": images.device.type,
        # The rounding of sums depends on the number of threads.
        "threads": torch.get_num_threads() if images.device.type == "cpu" else None,
        "precision": str(resolve_precision(config.train.precision, images.device)),
        "seed": config.seed,
        "model": config.model.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json"),
    }
    digest = hashlib.sha256(json.dumps(learned_from, sort_keys=True).encode()).hexdigest()
    return f"{catalog.encoder(name).name}-{digest[:32]}.json"
