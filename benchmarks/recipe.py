"""The recipe that gpu-ssl started from, compared with ``gpu-ssl run``, in one run.

The recipe: an MLP VAE (784-600-600-50, KL weight 1) trained for 20 epochs in float32 with Adam and batches
of 128 from a DataLoader over PIL images, then scikit-learn's SVC with C = 10 on the latents at 100, 600,
1000 and 3000 labels, one split each. Ours: ``gpu-ssl run --labels all --no-baselines`` with its defaults,
five splits each, plots and report included. Each runs in a fresh process, start-up included, in turn.

    python -m benchmarks.recipe

prints both times and their ratio, and writes them with the accuracies with ``--output``.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from gpu_ssl.config import STANDARD_LABEL_COUNTS, DataConfig


def recipe(epochs: int) -> dict[str, float]:
    """Train and score the recipe; return the accuracy at each number of labels."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from PIL import Image
    from sklearn.svm import SVC
    from torch import Tensor, nn
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import ToTensor

    from gpu_ssl.data.loading import load_dataset
    from gpu_ssl.data.splits import labelled_indices

    data = load_dataset(DataConfig())

    class PILImages(Dataset[Tensor]):
        """Like torchvision's data sets: a PIL image from an array, then ToTensor."""

        def __init__(self, images: Any) -> None:
            self.images = images
            self.transform = ToTensor()

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> Tensor:
            tensor: Tensor = self.transform(Image.fromarray(self.images[index, 0]))
            return tensor

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Linear(784, 600), nn.Softplus(), nn.Linear(600, 600), nn.Softplus()
            )
            self.mean, self.log_variance = nn.Linear(600, 50), nn.Linear(600, 50)
            self.decoder = nn.Sequential(
                nn.Linear(50, 600), nn.Softplus(), nn.Linear(600, 600), nn.Softplus(), nn.Linear(600, 784)
            )

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            hidden = self.encoder(x)
            mean, log_variance = self.mean(hidden), self.log_variance(hidden)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
            return torch.sigmoid(self.decoder(z)), mean, log_variance

    torch.manual_seed(0)
    vae = VAE()
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
    loader = DataLoader(PILImages(data.train.images), batch_size=128, shuffle=True)
    for _ in range(epochs):
        for batch in loader:
            x = batch.view(len(batch), -1)
            drawn, mean, log_variance = vae(x)
            kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            loss = F.binary_cross_entropy(drawn, x, reduction="sum") + kl
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()

    def encode(images: Any) -> Any:
        batches = DataLoader(PILImages(images), batch_size=128)
        with torch.no_grad():
            return torch.cat([vae(batch.view(len(batch), -1))[1] for batch in batches]).numpy()

    train, test = encode(data.train.images), encode(data.test.images)
    accuracies = {}
    for n in STANDARD_LABEL_COUNTS:
        labelled = labelled_indices(data.train.labels, n, seed=0, split=0)
        predicted = SVC(C=10).fit(train[labelled], data.train.labels[labelled]).predict(test)
        accuracies[str(n)] = float(np.mean(predicted == data.test.labels))
    return accuracies


def timed(command: list[str]) -> tuple[float, Any]:
    """Run `command`, which prints JSON; return its seconds and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - start, json.loads(done.stdout)


def run_ours(folder: str) -> tuple[float, Any]:
    """Run ``gpu-ssl run`` into `folder`; return its seconds and its report."""
    options = ["--labels", "all", "--no-baselines", "--json", "--output", folder]
    return timed([sys.executable, "-m", "gpu_ssl", "run", *options])


@click.command()
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Runs of each.")
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="Epochs of the recipe.")
@click.option("--recipe-only", is_flag=True, help="Run the recipe alone, in this process.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the record goes.")
def main(repeats: int, epochs: int, recipe_only: bool, output: Path | None) -> None:
    """Time the recipe and gpu-ssl in turn, and write the result."""
    if recipe_only:
        click.echo(json.dumps(recipe(epochs)))
        return
    theirs, ours = [], []
    for _ in range(repeats):
        command = [sys.executable, "-m", "benchmarks.recipe", "--recipe-only", "--epochs", str(epochs)]
        theirs.append(timed(command))
        with tempfile.TemporaryDirectory() as folder:
            ours.append(run_ours(folder))
        click.echo(f"recipe {theirs[-1][0]:.1f} s, gpu-ssl {ours[-1][0]:.1f} s", err=True)
    ratios = [a / b for (a, _), (b, _) in zip(theirs, ours, strict=True)]
    report = ours[-1][1]
    result = {
        "what": "gpu-ssl run --labels all --no-baselines against the recipe, whole processes, in turn",
        "recipe": {"epochs": epochs, "seconds": [s for s, _ in theirs], "accuracies": theirs[-1][1]},
        "gpu_ssl": {
            "seconds": [s for s, _ in ours],
            "timings": report["timings"],
            "accuracies": {
                method: {r["labels"]: r["accuracy_mean"] for r in report["results"] if r["method"] == method}
                for method in report["config"]["methods"]
            },
        },
        "ratio_median": statistics.median(ratios),
        "ratios": ratios,
        "environment": report["environment"],
        "device": report["device"],
    }
    if output is not None:
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    click.echo(f"gpu-ssl is {result['ratio_median']:.2f} times as fast (median of {repeats})")


if __name__ == "__main__":
    main()
