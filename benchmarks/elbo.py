"""The paper's VAE trained by pythae, by Pyro and by us: the test ELBO that each reaches, and in what time.

The network is that of Kingma et al. 2014 (784-600-600-50 and back, softplus, Bernoulli likelihood) on
Fashion-MNIST. pythae's trainer and Pyro's SVI train it for 10 epochs as their users do: float32, batches of
128, Adam at 1e-3. Ours trains it for as few epochs as lead to their ELBO, as `gpu-ssl run --network mlp
--epochs 5` does. Each trains in a fresh process, in turn; only training is timed.

    python -m benchmarks.elbo

prints the results, and writes raw values and environment with ``--output``. A peer that is not installed
(``pip install -r benchmarks/requirements-peers.txt``) is "not measured"."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from gpu_ssl.config import DataConfig, ModelConfig, TrainConfig
from gpu_ssl.data.image_set import Dataset
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.networks.vae import Posterior, kl_divergence, reconstruction_loss, sample
from gpu_ssl.runtime.environment import describe_environment, library_version
from gpu_ssl.training.batches import Resident
from gpu_ssl.training.plan import plan_vae
from gpu_ssl.training.vae import Trainer, build_vae

SHAPE = (1, 28, 28)
LATENT_DIM = 50
EPOCHS, BATCH, LEARNING_RATE = 10, 128, 1e-3
"""Number of epochs of the peers."""

OUR_EPOCHS = 5
SHARE = 1 / 4
"""Maximum time of ours as a fraction of each peer's."""

Parts = tuple[Callable[[Tensor], tuple[Tensor, Tensor]], Callable[[Tensor], Tensor]]
"""Images to means and log-variances; latents to logits."""


class Encoder(nn.Module):
    """784-600-600 and two heads, as users write it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 600), nn.Softplus(), nn.Linear(600, 600), nn.Softplus()
        )
        self.mean, self.log_variance = nn.Linear(600, LATENT_DIM), nn.Linear(600, LATENT_DIM)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layers(images)
        return self.mean(features), self.log_variance(features)


def make_decoder() -> nn.Sequential:
    """Make the layers from latents to logits."""
    layers = (
        nn.Linear(LATENT_DIM, 600),
        nn.Softplus(),
        nn.Linear(600, 600),
        nn.Softplus(),
        nn.Linear(600, 784),
    )
    return nn.Sequential(*layers, nn.Unflatten(1, SHAPE))


def train_pythae(images: Tensor) -> tuple[float, Parts]:
    """Train with pythae's BaseTrainer."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    encoder, decoder = Encoder(), make_decoder()

    class PythaeEncoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = encoder

        def forward(self, x: Tensor) -> Any:
            mean, log_variance = self.inner(x)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class PythaeDecoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = decoder

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.inner(z)))

    config = VAEConfig(input_dim=SHAPE, latent_dim=LATENT_DIM, reconstruction_loss="bce")
    model = VAE(model_config=config, encoder=PythaeEncoder(), decoder=PythaeDecoder())
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            optimizer_cls="Adam",
            no_cuda=True,
        )
        dataset = BaseDataset(images, torch.zeros(len(images)))
        trainer = BaseTrainer(model=model, train_dataset=dataset, training_config=training)
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    return seconds, (encoder, decoder)


def train_pyro(images: Tensor) -> tuple[float, Parts]:
    """Train with Pyro's SVI, as its tutorial on VAEs does."""
    import pyro
    import pyro.distributions as dist
    from pyro.infer import SVI, Trace_ELBO
    from pyro.optim import Adam
    from torch.utils.data import DataLoader, TensorDataset

    encoder, decoder = Encoder(), make_decoder()

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            zeros = x.new_zeros(len(x), LATENT_DIM)
            z = pyro.sample("latent", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))
            drawn = dist.Bernoulli(logits=decoder(z).flatten(1), validate_args=False).to_event(1)
            pyro.sample("obs", drawn, obs=x.flatten(1))

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            mean, log_variance = encoder(x)
            pyro.sample("latent", dist.Normal(mean, (0.5 * log_variance).exp()).to_event(1))

    svi = SVI(model, guide, Adam({"lr": LEARNING_RATE}), loss=Trace_ELBO())
    loader = DataLoader(TensorDataset(images), batch_size=BATCH, shuffle=True)
    start = time.perf_counter()
    for _ in range(EPOCHS):
        for (batch,) in loader:
            svi.step(batch)
    return time.perf_counter() - start, (encoder, decoder)


def train_ours(data: Dataset, epochs: int) -> tuple[float, Parts]:
    """Train with our trainer, from uint8 images."""
    config, images = ModelConfig(network="mlp"), torch.from_numpy(data.train.images)
    start = time.perf_counter()
    vae = build_vae(config, SHAPE, images.device, seed=0)
    resident = Resident(images)
    plan = plan_vae(TrainConfig(epochs=epochs), config, resident, data.mirrored)
    trainer = Trainer(vae, resident, plan, seed=0)
    for _ in range(epochs):
        trainer.epoch()
    return time.perf_counter() - start, (vae.eval().encode, vae.decode)


@torch.no_grad()
def elbo_of(parts: Parts, images: Tensor) -> float:
    """Return the mean ELBO of images with values from 0 to 1, in nats, from one sample per latent."""
    encode, decode = parts
    posterior = Posterior(*encode(images))
    latents = sample(posterior, torch.Generator().manual_seed(0))
    return -float((reconstruction_loss(decode(latents), images) + kl_divergence(posterior)).mean())


NAMES = {"pythae": "pythae", "Pyro": "pyro", "gpu-ssl": "gpu_ssl"}
"""The contenders, and the modules that they need."""


def run_one(name: str, epochs: int) -> dict[str, float]:
    """Train as `name` does; return the seconds, and the test ELBO."""
    data = load_dataset(DataConfig())
    train, test = (
        torch.from_numpy(part.images).to(torch.float32).div(255) for part in (data.train, data.test)
    )
    torch.manual_seed(0)
    if name == "gpu-ssl":
        seconds, parts = train_ours(data, epochs)
    else:
        seconds, parts = {"pythae": train_pythae, "Pyro": train_pyro}[name](train)
    return {"seconds": seconds, "test_elbo": elbo_of(parts, test)}


def measure(repeats: int, epochs: int) -> dict[str, list[dict[str, float]]]:
    """Train with all installed contenders in turn, each in a fresh process."""
    found: dict[str, list[dict[str, float]]] = {
        name: [] for name, module in NAMES.items() if find_spec(module)
    }
    for _ in range(repeats):
        for name, rounds in found.items():
            command = [sys.executable, "-m", "benchmarks.elbo", "--only", name, "--epochs", str(epochs)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            rounds.append(json.loads(done.stdout.splitlines()[-1]))
            click.echo(f"{name}: {rounds[-1]['seconds']:.1f} s, {rounds[-1]['test_elbo']:.2f} nats", err=True)
    return found


def summarize(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return how each peer's time and ELBO compare with ours (medians), and whether targets are met."""
    ours = found["gpu-ssl"]
    elbo = statistics.median(r["test_elbo"] for r in ours)
    peers: dict[str, Any] = {}
    for name in NAMES:
        rounds = found.get(name)
        if name == "gpu-ssl":
            continue
        if rounds is None:
            peers[name] = "not measured"
            continue
        share = statistics.median(a["seconds"] / b["seconds"] for a, b in zip(ours, rounds, strict=True))
        ahead = elbo - statistics.median(r["test_elbo"] for r in rounds)
        peers[name] = {"share_of_time": share, "nats_ahead": ahead, "ok": share <= SHARE and ahead >= 0}
    return peers


@click.command()
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Rounds of each.")
@click.option("--epochs", type=click.IntRange(1), default=OUR_EPOCHS, show_default=True, help="Of ours.")
@click.option("--only", type=click.Choice(list(NAMES)), help="Train as this one does, in this process.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the record goes.")
def main(repeats: int, epochs: int, only: str | None, output: Path | None) -> None:
    """Train in turn, print a line for each, and write the record."""
    if only:
        click.echo(json.dumps(run_one(only, epochs)))
        return
    found = measure(repeats, epochs)
    peers = summarize(found)
    record = {
        "what": "the paper's VAE on Fashion-MNIST: seconds of training, and test ELBO in nats",
        "epochs": {"peers": EPOCHS, "gpu-ssl": epochs},
        "rounds": found,
        "peers": peers,
        "versions": {name: library_version(name) for name in ("pythae", "pyro-ppl")},
        "environment": describe_environment(),
    }
    if output is not None:
        output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for name, compared in peers.items():
        click.echo(f"beside {name}: {compared}")


if __name__ == "__main__":
    main()
