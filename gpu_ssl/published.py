"""Published accuracies for the tasks of a run."""

from gpu_ssl.records import Published

TABLE_1: dict[str, dict[int, tuple[float, float]]] = {
    "M1+TSVM": {100: (11.82, 0.25), 600: (5.72, 0.049), 1000: (4.24, 0.07), 3000: (3.49, 0.04)},
    "M2": {100: (11.97, 1.71), 600: (4.94, 0.13), 1000: (3.60, 0.56), 3000: (3.92, 0.63)},
    "M1+M2": {100: (3.33, 0.14), 600: (2.59, 0.05), 1000: (2.40, 0.02), 3000: (2.18, 0.04)},
}
"""Kingma et al. 2014, MNIST: mean and standard deviation of the error in %, by number of labels."""

PUBLISHED = {
    "fashion-mnist": tuple(
        Published(
            name="the recipe as published",
            labels=labels,
            accuracy=accuracy,
            source="MLP VAE and SVM, by the author of the recipe that this project started from",
        )
        for labels, accuracy in ((100, 0.7025), (600, 0.7590), (1000, 0.7903), (3000, 0.8138))
    ),
    "mnist": tuple(
        Published(
            name=f"{method} of Kingma et al. 2014",
            labels=labels,
            accuracy=round(1 - error / 100, 4),
            source="Semi-supervised Learning with Deep Generative Models, Table 1",
        )
        for method, figures in TABLE_1.items()
        for labels, (error, _) in figures.items()
    ),
}
"""Published test accuracies for the same task, from 0 to 1, by data set."""
