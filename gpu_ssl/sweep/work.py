"""Tasks of the workers of a sweep: train a VAE, and finish a cell with it. Both resume when restarted."""

import shutil
from pathlib import Path

import torch

from gpu_ssl import catalog, experiment
from gpu_ssl.config import RunConfig
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.encoders import vae
from gpu_ssl.encoders.fitting import Training, TrainingImages
from gpu_ssl.errors import GpuSslError, UsageError
from gpu_ssl.methods.method import encoders_of
from gpu_ssl.methods.representation import CHECKPOINT
from gpu_ssl.records import Report
from gpu_ssl.report import writing
from gpu_ssl.runtime import state
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.progress import SILENT


def train_vae(config: RunConfig, folder: Path) -> str | None:
    """Train the VAE of `config`, resuming from the checkpoint in `folder`, and write the last one there.

    Returns
    -------
    str or None
        The error, as one line for the user. Raised, the cluster would also print a traceback.
    """
    try:
        _train_vae(config, folder)
    except GpuSslError as error:
        return str(error)
    return None


def _train_vae(config: RunConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(config.data, SILENT)
    device = torch.device(resolve_device(config.device).used)
    images = TrainingImages(dataset.train.images, device, dataset.mirrored, dataset.sha256)
    vae.fit(images, Training(config, folder / CHECKPOINT))


def needs_vae(config: RunConfig) -> bool:
    """Return whether a method of a cell, baselines included, uses the VAE."""
    needed = (encoders_of(own, config.encoder, config.preset) for own in experiment.methods_of(config))
    return any("vae" in catalog.encoder_parts(name) for names in needed for name in names)


def finish_cell(config: RunConfig, folder: Path, vae_folder: Path, failed: str | None = None) -> str | None:
    """Run a cell with the VAE in `vae_folder`, and write its report into `folder`.

    Parameters
    ----------
    config : RunConfig
        Settings of one method and one number of labels.
    folder, vae_folder : Path
        Folder of the cell, and folder of `train_vae`.
    failed : str, optional
        Result of `train_vae`, for which the cell waits.

    Returns
    -------
    str or None
        The error, as one line for the user.
    """
    try:
        if failed is None:
            _finish_cell(config, folder, vae_folder)
    except GpuSslError as error:
        return str(error)
    return failed


def _finish_cell(config: RunConfig, folder: Path, vae_folder: Path) -> None:
    if read_cell(config, folder) is not None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    state.remove(folder / writing.REPORT)  # of a cell without the baselines
    writing.write_config(folder, config)
    if needs_vae(config) and (vae_folder / CHECKPOINT).is_file():
        # The JSON last, as it names the tensors.
        stem = Path(CHECKPOINT).stem
        for source in (*vae_folder.glob(f"{stem}-*.safetensors"), vae_folder / CHECKPOINT):
            shutil.copyfile(source, folder / source.name)
    writing.finish_folder(folder, experiment.run(config, folder, SILENT), plots=False)


def read_cell(config: RunConfig, folder: Path) -> Report | None:
    """Return the report of a finished cell, or None.

    Baselines belong to the cells of the first method. If that has changed, a cell with baselines serves as
    one without, and one without lacks only these.

    Raises
    ------
    UsageError
        If the folder holds a cell of other settings.
    StorageError
        If the report cannot be read.
    """
    if (folder / writing.CONFIG).is_file():
        kept = writing.read_config(folder)
        if kept.model_copy(update={"baselines": config.baselines}) != config:
            raise UsageError(
                f"{folder} holds a cell of other settings; give the changed settings another name, or "
                "`output` another folder"
            )
        if config.baselines and not kept.baselines:
            return None
    return writing.read_report(folder)
