"""The first labels: those that ``gpu-ssl suggest`` chooses without a model, compared with random ones.

    python -m benchmarks.first_labels [--data-dir DIR]    # DIR has MNIST, where there is one

Of each data set 3,000 training images are candidates and 5,000 others (of the digits the candidates) judge an
SVM on HOG that is fitted to the chosen ones; 5 seeds, each with four fifths of the candidates. No test image
is read.
"""

from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC

from gpu_ssl.config import DataConfig, FitConfig
from gpu_ssl.data.loading import load_dataset
from gpu_ssl.data.own import UNLABELLED, OwnImages
from gpu_ssl.encoders.encoder import BLOCK, encode
from gpu_ssl.encoders.fitting import Training, TrainingImages, fit_encoders
from gpu_ssl.fitted.suggestion import suggest_first

CANDIDATES, JUDGES, SEEDS = 3_000, 5_000, 5
CPU = torch.device("cpu")


def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return HOG of images (n, channels, height, width), uint8."""
    training = Training(FitConfig(), Path())
    encoder = fit_encoders(["hog"], TrainingImages(images, CPU, False, ""), training)["hog"]
    blocks = torch.split(torch.from_numpy(np.ascontiguousarray(images)), BLOCK)
    found: NDArray[np.float32] = torch.cat([encode(encoder, block) for block in blocks]).numpy()
    return found


def measure(dataset: str, data_dir: Path | None, n: int) -> None:
    """Print accuracies and the number of classes among the chosen."""
    train = load_dataset(DataConfig(dataset=dataset, data_dir=data_dir)).train
    order = np.random.default_rng(0).permutation(len(train))
    pool = order[:CANDIDATES]
    judges = order[CANDIDATES : CANDIDATES + JUDGES] if len(train) > 2 * CANDIDATES else pool
    own, asked = features(train.images[pool]), features(train.images[judges])
    labels, truth = train.labels[pool], train.labels[judges]
    accuracies: dict[str, list[float]] = {"random": [], "suggested": []}
    classes: dict[str, list[int]] = {"random": [], "suggested": []}
    for seed in range(SEEDS):
        some = np.random.default_rng(seed).permutation(len(pool))[: len(pool) * 4 // 5]
        images = OwnImages(
            tuple(map(str, some)), train.images[pool[some]], np.full(len(some), UNLABELLED), (), {}
        )
        for how, chosen in (("random", some[:n]), ("suggested", some[suggest_first(images, n, CPU, seed)])):
            model = SVC(C=5).fit(own[chosen], labels[chosen])
            accuracies[how].append(float((model.predict(asked) == truth).mean()))
            classes[how].append(len(set(labels[chosen].tolist())))
    for how, values in accuracies.items():
        mean, deviation = 100 * np.mean(values), 100 * np.std(values, ddof=1)
        line = f"{dataset:14} {n:4} labels {how:10} {mean:5.1f} +- {deviation:.1f} %"
        print(f"{line}, {np.mean(classes[how]):.1f} classes", flush=True)


@click.command()
@click.option("--data-dir", type=click.Path(path_type=Path))
def main(data_dir: Path | None) -> None:
    for dataset in ("fashion-mnist", "digits", *(["mnist"] if data_dir else [])):
        for n in (20, 50, 100):
            measure(dataset, data_dir, n)


if __name__ == "__main__":
    main()
