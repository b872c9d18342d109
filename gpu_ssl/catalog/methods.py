"""The methods."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MethodSpec:
    """A way to use the labels.

    Parameters
    ----------
    name, title, help : str
        What users type, what tables show, and one line of help.
    module : str
        Defines ``fit`` and ``load``; see `methods.method`.
    encoder : str
        Whose features it works on; "" for a method that makes its own.
    teacher : str
        Encoder whose graph of neighbours teaches its networks; "" for none.
    free : bool
        Whether the setting ``encoder`` replaces these two.
    trains : bool
        Whether it trains a network for each choice of labels.
    shared : bool
        Whether several ranks can share its work: all that is long in it is the VAE.
    svm : bool
        Whether it fits an SVM, or may choose a method that does.
    baseline : str
        Which tables it is a baseline of: ``always`` of all, ``networks`` of those with a method that trains
        networks, "" of none.
    """

    name: str
    title: str
    help: str
    module: str
    encoder: str = ""
    teacher: str = ""
    free: bool = False
    trains: bool = False
    shared: bool = False
    svm: bool = True
    baseline: Literal["", "always", "networks"] = ""


METHODS: tuple[MethodSpec, ...] = (
    MethodSpec(
        "m1",
        "M1: SVM on VAE latents",
        "an SVM on the latents of the VAE (Kingma et al. 2014)",
        module="gpu_ssl.methods.svm",
        encoder="vae",
        shared=True,
    ),
    MethodSpec(
        "hybrid",
        "hybrid: SVM on VAE latents and HOG",
        "an SVM on the latents and on histograms of oriented gradients (HOG); better than m1, in seconds",
        module="gpu_ssl.methods.svm",
        encoder="vae+hog",
        shared=True,
    ),
    MethodSpec(
        "svm",
        "SVM on the encoder asked for",
        "an SVM on the features of --encoder, which is vae+hog unless given",
        module="gpu_ssl.methods.svm",
        encoder="vae+hog",
        free=True,
        shared=True,
    ),
    MethodSpec(
        "graph",
        "graph: labels spread over neighbours",
        "spreads labels over the graph of nearest neighbours (better with few labels)",
        module="gpu_ssl.methods.graph",
        encoder="vae",
        free=True,
        shared=True,
        svm=False,
    ),
    MethodSpec(
        "consistency",
        "consistency: SVM on a network's features",
        "a network trained by consistency regularization, with the graph as teacher; an SVM on its features "
        "and HOG (best; minutes a split on a CPU)",
        module="gpu_ssl.methods.consistency",
        teacher="vae",
        free=True,
        trains=True,
    ),
    MethodSpec(
        "auto",
        "auto: chosen by cross-validation",
        "the best of m1, hybrid and graph by cross-validation on the labelled images; with --effort best "
        "consistency, unless its teacher misleads",
        module="gpu_ssl.methods.auto",
        encoder="vae+hog",
        teacher="vae",
        free=True,
    ),
    MethodSpec(
        "m2",
        "M2: the class is a latent variable",
        "the generative model M2 of Kingma et al. 2014, of images",
        module="gpu_ssl.methods.m2",
        encoder="pixels",
        teacher="vae",
        trains=True,
        svm=False,
    ),
    MethodSpec(
        "m1m2",
        "M1+M2: M2 on the latents of M1",
        "M2 on the latents of the VAE",
        module="gpu_ssl.methods.m1m2",
        encoder="vae",
        teacher="vae",
        trains=True,
        svm=False,
    ),
    MethodSpec(
        "cnn",
        "network on the labelled images alone",
        "the network of consistency, trained on the labelled images only",
        module="gpu_ssl.methods.cnn",
        trains=True,
        baseline="networks",
    ),
    MethodSpec(
        "raw-svc",
        "SVM on raw pixels",
        "an SVM on pixel intensities",
        module="gpu_ssl.methods.svm",
        encoder="pixels",
        shared=True,
        baseline="always",
    ),
    MethodSpec(
        "pca-svc",
        "SVM on 50 principal components",
        "an SVM on the first 50 principal components of the pixels",
        module="gpu_ssl.methods.svm",
        encoder="pca",
        shared=True,
        baseline="always",
    ),
    MethodSpec(
        "rank-svc",
        "SVM on ranks of pixels",
        "an SVM on the reconstruction targets of the VAE, ranks of pixel intensities",
        module="gpu_ssl.methods.svm",
        encoder="ranks",
        shared=True,
        baseline="always",
    ),
)
