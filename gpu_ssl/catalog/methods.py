"""The table of methods."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MethodSpec:
    """Description of a method that classifies images from a few labels.

    Parameters
    ----------
    name, title, help : str
        Name on the command line, title in tables, and one line of help.
    module : str
        Module that defines ``fit`` and ``load``; see `methods.method`.
    encoder : str
        Encoder whose features it uses; "" if it learns its own features.
    teacher : str
        Encoder whose neighbour graph gives pseudo-labels to its networks; "" for none.
    published : bool
        Whether the preset ``paper`` trains its networks as Kingma et al. 2014 did, without a teacher.
    free : bool
        Whether the setting ``encoder`` replaces these two.
    trains : bool
        Whether it trains a network for each split.
    shared : bool
        Whether several processes can share its work, because training the VAE takes most of the time.
    svm : bool
        Whether it fits an SVM, or may choose a method that does.
    baseline : str
        Tables in which it is a baseline: ``always`` in all, ``networks`` in those with a method that trains
        networks, "" in none.
    """

    name: str
    title: str
    help: str
    module: str
    encoder: str = ""
    teacher: str = ""
    published: bool = False
    free: bool = False
    trains: bool = False
    shared: bool = False
    svm: bool = True
    baseline: Literal["", "always", "networks"] = ""

    def teacher_with(self, preset: str) -> str:
        """Return the encoder of its teacher with a preset; "" for none."""
        return "" if self.published and preset == "paper" else self.teacher


METHODS: tuple[MethodSpec, ...] = (
    MethodSpec(
        "m1",
        "M1: SVM on VAE latents",
        "an SVM on the posterior means of the VAE (Kingma et al. 2014)",
        module="gpu_ssl.methods.svm",
        encoder="vae",
        shared=True,
    ),
    MethodSpec(
        "hybrid",
        "hybrid: SVM on VAE latents and HOG",
        "an SVM on the posterior means and on histograms of oriented gradients (HOG); better than m1, in "
        "seconds",
        module="gpu_ssl.methods.svm",
        encoder="vae+hog",
        shared=True,
    ),
    MethodSpec(
        "svm",
        "SVM on the selected encoder",
        "an SVM on the features of --encoder (default: vae+hog)",
        module="gpu_ssl.methods.svm",
        encoder="vae+hog",
        free=True,
        shared=True,
    ),
    MethodSpec(
        "graph",
        "graph: label spreading",
        "label spreading on the graph of nearest neighbours (better with few labels)",
        module="gpu_ssl.methods.graph",
        encoder="vae+hog",
        free=True,
        shared=True,
        svm=False,
    ),
    MethodSpec(
        "consistency",
        "consistency: network with pseudo-labels",
        "a network trained by consistency regularization with pseudo-labels of the graph; then label "
        "spreading on its features and HOG (best; minutes per split on a CPU)",
        module="gpu_ssl.methods.consistency",
        teacher="vae+hog",
        free=True,
        trains=True,
    ),
    MethodSpec(
        "auto",
        "auto: chosen by cross-validation",
        "m1, hybrid or graph (with --encoder or a pretrained network: svm or graph on its features), chosen "
        "by cross-validation on the labelled images; with --effort normal or best consistency instead, "
        "unless the SVM is clearly better than the graph or a pretrained network was chosen",
        module="gpu_ssl.methods.auto",
        encoder="vae+hog",
        teacher="vae+hog",
        free=True,
    ),
    MethodSpec(
        "m2",
        "M2: the class is a latent variable",
        "the generative model M2 of Kingma et al. 2014, on images",
        module="gpu_ssl.methods.m2",
        encoder="pixels",
        teacher="vae",
        published=True,
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
        published=True,
        trains=True,
        svm=False,
    ),
    MethodSpec(
        "cnn",
        "network on the labelled images only",
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
        "an SVM on rank-transformed pixel intensities, the reconstruction targets of the VAE",
        module="gpu_ssl.methods.svm",
        encoder="ranks",
        shared=True,
        baseline="always",
    ),
)
