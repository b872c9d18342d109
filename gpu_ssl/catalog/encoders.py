"""The table of encoders."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderSpec:
    """Description of an encoder, a map from images to features that uses no labels.

    Parameters
    ----------
    name, help : str
        Name on the command line, and one line of help.
    module : str
        Module that defines ``fit`` and ``build``; see `encoders.encoder`.
    image_only : bool
        Whether it needs two-dimensional images; rows of numbers, handled as images of height 1, have no
        edges.
    shared : bool
        Whether several processes train it and encode together.
    internal : bool
        Whether only methods create it and users cannot select it.
    learns : bool
        Whether it is fitted to images.
    embeddings : bool
        Whether it takes precomputed embeddings instead of images.
    variants : bool
        Whether the name may be followed by a colon and a variant, as in ``pretrained:resnet50``.
    """

    name: str
    help: str
    module: str
    image_only: bool = False
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
        image_only=True,
    ),
    EncoderSpec("pixels", "pixel intensities", "gpu_ssl.encoders.pixels"),
    EncoderSpec("pca", "50 principal components of the pixels", "gpu_ssl.encoders.pca", learns=True),
    EncoderSpec("ranks", "ranks of the pixel intensities within an image", "gpu_ssl.encoders.ranks"),
    EncoderSpec(
        "pretrained",
        "features of a network pretrained on millions of photographs; pretrained:NAME selects a network of "
        "torchvision or timm",
        "gpu_ssl.encoders.pretrained",
        image_only=True,
        variants=True,
    ),
    EncoderSpec(
        "given",
        "precomputed embeddings, used unchanged",
        "gpu_ssl.encoders.given",
        embeddings=True,
    ),
    EncoderSpec(
        "network", "features of a trained classifier", "gpu_ssl.encoders.network", internal=True, learns=True
    ),
)
