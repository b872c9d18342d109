"""The encoders."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderSpec:
    """A map from images to features that knows no label.

    Parameters
    ----------
    name, help : str
        What users type, and one line of help.
    module : str
        Defines ``fit`` and ``build``; see `encoders.encoder`.
    pictures : bool
        Whether it needs pictures: rows of numbers, which are images of one row, have no edges.
    shared : bool
        Whether several ranks train it together, and encode together.
    internal : bool
        Whether only methods make it, and no user asks for it.
    learns : bool
        Whether it learns from images: there is none before a fit.
    embeddings : bool
        Whether it takes embeddings of another program in place of images; no other does.
    variants : bool
        Whether a colon and one name of many may follow its own, as in ``pretrained:resnet50``.
    """

    name: str
    help: str
    module: str
    pictures: bool = False
    shared: bool = False
    internal: bool = False
    variants: bool = False
    learns: bool = False
    embeddings: bool = False


ENCODERS: tuple[EncoderSpec, ...] = (
    EncoderSpec("vae", "posterior means of the VAE", "gpu_ssl.encoders.vae", shared=True, learns=True),
    EncoderSpec(
        "hog",
        "histograms of oriented gradients (Dalal and Triggs 2005)",
        "gpu_ssl.encoders.hog",
        pictures=True,
    ),
    EncoderSpec("pixels", "pixel intensities", "gpu_ssl.encoders.pixels"),
    EncoderSpec("pca", "50 principal components of the pixels", "gpu_ssl.encoders.pca", learns=True),
    EncoderSpec("ranks", "ranks of the pixel intensities within an image", "gpu_ssl.encoders.ranks"),
    EncoderSpec(
        "pretrained",
        "features of a network trained on millions of photographs; pretrained:NAME takes that of torchvision "
        "or timm",
        "gpu_ssl.encoders.pretrained",
        pictures=True,
        variants=True,
    ),
    EncoderSpec(
        "given",
        "the numbers themselves: embeddings of another program",
        "gpu_ssl.encoders.given",
        embeddings=True,
    ),
    EncoderSpec(
        "network", "features of a trained classifier", "gpu_ssl.encoders.network", internal=True, learns=True
    ),
)
