"""Plots of a run, as PNG files. Drawn on canvases of their own: no display, no global state."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from gpu_ssl.experiment import Outcome
from gpu_ssl.models.augmentation import canonical
from gpu_ssl.models.classifier import EVERY
from gpu_ssl.models.m2 import M2
from gpu_ssl.report.records import METHOD_TITLES, Report
from gpu_ssl.runtime.figures import new_figure
from gpu_ssl.runtime.files import atomic_path

N_IMAGES = 10
N_POINTS = 3000


def accuracy_against_labels(report: Report) -> Figure:
    """Draw accuracy against the number of labels, with the standard deviation over splits as bars."""
    figure = new_figure(7, 4.5)
    axes = figure.add_subplot()
    for method in dict.fromkeys(result.method for result in report.results):
        results = sorted((r for r in report.results if r.method == method), key=lambda r: r.labels)
        axes.errorbar(
            [r.labels for r in results],
            [100 * r.accuracy_mean for r in results],
            yerr=[100 * (r.accuracy_std or 0) for r in results],
            marker="o",
            capsize=3,
            label=METHOD_TITLES.get(method, method),
        )
    for name in dict.fromkeys(f.name for f in report.published):
        figures = sorted((f.labels, 100 * f.accuracy) for f in report.published if f.name == name)
        axes.plot(*zip(*figures, strict=True), "k:x", label=name)
    axes.set_xscale("log")
    counts = sorted({result.labels for result in report.results})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("labelled images")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(report.dataset.name)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def training_curves(report: Report) -> Figure:
    """Draw both parts of the training loss against the epoch."""
    figure = new_figure(8, 3.5)
    history = report.training.history
    for axes, name in zip(figure.subplots(1, 2), ("reconstruction", "kl"), strict=True):
        axes.plot([h.epoch for h in history], [getattr(h, name) for h in history], marker=".")
        axes.set_xlabel("epoch")
        axes.set_title({"reconstruction": "reconstruction loss", "kl": "KL divergence"}[name])
        axes.set_ylabel("nats per image")
        axes.grid(alpha=0.3)
    return figure


def learning_curves(report: Report) -> Figure:
    """Draw the loss of the networks of each method at the largest number of labels, a line a split."""
    count = max(result.labels for result in report.results)
    drawn = [r for r in report.results if r.labels == count and r.curves]
    figure = new_figure(4 * len(drawn), 3.5)
    for axes, result in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        for curve in result.curves:
            axes.plot([EVERY * (i + 1) for i in range(len(curve))], curve, linewidth=1)
        axes.set_title(f"{result.method}, {count:,} labels")
        axes.set_xlabel("step")
        axes.set_ylabel(f"mean loss of {EVERY} steps")
        axes.grid(alpha=0.3)
    return figure


def _image_rows(rows: list[NDArray[np.float32]], title: str) -> Figure:
    """Draw rows of images, each of shape (n, channels, height, width), as one picture with gaps."""
    channels, height, width = rows[0].shape[1:]
    gap = max(1, height // 14)
    picture = np.ones((len(rows) * (height + gap) - gap, N_IMAGES * (width + gap) - gap, channels))
    for i, images in enumerate(rows):
        for j, image in enumerate(images):
            top, left = i * (height + gap), j * (width + gap)
            picture[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    figure = new_figure(N_IMAGES * 0.8, len(rows) * 0.9 + 0.3)
    figure.suptitle(title, fontsize=10)
    axes = figure.add_subplot()
    axes.imshow(picture if channels == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    return figure


@torch.no_grad()
def reconstructions(outcome: Outcome) -> Figure:
    """Draw test images, the pictures to be drawn of them, and what the decoder draws of their latents."""
    vae = outcome.vae.eval()
    pixels = torch.from_numpy(outcome.dataset.test.images[:N_IMAGES]).to(vae.device)
    images = pixels.float() / 255
    rows, title = [images], "test images"
    if outcome.report.training.augment:
        rows.append(canonical(pixels))
        title += ", the pictures that all views of them are to give"
    rows.append(torch.sigmoid(vae.decode(vae.encode(images).mean)))
    return _image_rows([row.cpu().numpy() for row in rows], f"{title}, and their reconstructions")


@torch.no_grad()
def prior_samples(outcome: Outcome, rows: int = 4) -> Figure:
    """Draw what the decoder makes of latents from the prior N(0, I)."""
    vae = outcome.vae.eval()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(rows * N_IMAGES, vae.config.latent_dim, generator=generator)
    drawn = torch.sigmoid(vae.decode(latents.to(vae.device))).cpu().numpy()
    return _image_rows(list(drawn.reshape(rows, N_IMAGES, *drawn.shape[1:])), "samples from the prior")


@torch.no_grad()
def class_samples(outcome: Outcome, method: str) -> Figure:
    """Draw p(x|y, z) of M2 or M1+M2: a row for each class, a column for each z from N(0, I)."""
    network = outcome.generators[method].eval()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(N_IMAGES, network.spec.latent_dim, generator=generator)
    rows = _by_class(outcome, network, latents.to(outcome.vae.device))
    return _image_rows(rows, f"{METHOD_TITLES[method]}: a class in each row, the same z in each column")


@torch.no_grad()
def analogies(outcome: Outcome, method: str) -> Figure:
    """Draw test images, and below each what its z looks like in every class (Kingma et al. 2014, fig. 1)."""
    network, vae = outcome.generators[method].eval(), outcome.vae.eval()
    pixels = torch.from_numpy(outcome.dataset.test.images[:N_IMAGES]).to(vae.device)
    images = pixels.float() / 255
    inputs = images if method == "m2" else vae.encode(images).mean
    probabilities = network(inputs).softmax(dim=1)
    latents = network.posterior(network.to_hidden(network.trunk(inputs)), probabilities).mean
    rows = [images.cpu().numpy(), *_by_class(outcome, network, latents)]
    return _image_rows(rows, f"{METHOD_TITLES[method]}: test images, and their z in each class")


@torch.no_grad()
def _by_class(outcome: Outcome, network: M2, latents: Tensor) -> list[NDArray[np.float32]]:
    """Return what latents (n, latent_dim) look like in each class, as images (n, channels, height, width)."""
    rows = []
    for one_hot in torch.eye(network.n_classes, device=latents.device):
        drawn = network.most_likely(latents, one_hot.expand(len(latents), -1))
        if drawn.ndim == 2:  # latents of M1
            drawn = torch.sigmoid(outcome.vae.decode(drawn))
        rows.append(drawn.cpu().numpy())
    return rows


def confusion_matrix(outcome: Outcome) -> Figure:
    """Draw the confusion matrix at the largest number of labels, as row percentages over all splits."""
    test = outcome.dataset.test
    n_classes = len(test.class_names)
    predictions = outcome.predictions[outcome.method]
    count = max(predictions)
    matrix = np.zeros((n_classes, n_classes))
    for predicted in predictions[count]:
        np.add.at(matrix, (test.labels, predicted.classes), 1)
    percent = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 3 + 0.4 * n_classes
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(n_classes), test.class_names, rotation=90)
    axes.set_yticks(range(n_classes), test.class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{outcome.method}, {count:,} labels: % of each class")
    if n_classes <= 20:
        for (i, j), value in np.ndenumerate(percent):
            if value >= 0.5:
                colour = "white" if value > 50 else "black"
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    return figure


def latent_map(outcome: Outcome) -> Figure:
    """Draw the first two principal components of the test latents, coloured by class."""
    from sklearn.decomposition import PCA

    latents = outcome.test_latents[:N_POINTS]
    n_components = min(2, *latents.shape)
    points = np.zeros((len(latents), 2))
    points[:, :n_components] = PCA(n_components).fit_transform(latents)
    labels = outcome.dataset.test.labels[:N_POINTS]
    figure = new_figure(8, 6)
    axes = figure.add_subplot()
    names = outcome.dataset.test.class_names
    scatter = axes.scatter(
        points[:, 0], points[:, 1], c=labels, cmap="tab10" if len(names) <= 10 else "turbo", s=5
    )
    handles = scatter.legend_elements(num=list(range(len(names))))[0]
    axes.legend(handles, names, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title("test latents, first two principal components")
    return figure


def write_plots(outcome: Outcome, folder: Path) -> None:
    """Write all plots of a run as PNG files into `folder`.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    figures = {
        "accuracy": accuracy_against_labels(outcome.report),
        "training": training_curves(outcome.report),
        "reconstructions": reconstructions(outcome),
        "prior-samples": prior_samples(outcome),
        "confusion-matrix": confusion_matrix(outcome),
        "latent-map": latent_map(outcome),
    }
    if any(result.curves for result in outcome.report.results):
        figures["learning-curves"] = learning_curves(outcome.report)
    for method in outcome.generators:
        figures[f"{method}-samples"] = class_samples(outcome, method)
        figures[f"{method}-analogies"] = analogies(outcome, method)
    for name, figure in figures.items():
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=120)
