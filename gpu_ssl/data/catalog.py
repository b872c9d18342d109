"""The built-in data sets: files, checksums, mirrors and classes.

URLs and MD5 sums are those of torchvision 0.29 (a test compares them). Debian's package holds the same
Fashion-MNIST, compressed without gzip's file names and therefore with different sums. MD5 sums of the
uncompressed files are known for MNIST and Fashion-MNIST, but not for KMNIST.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gpu_ssl.data import formats
from gpu_ssl.errors import UsageError


@dataclass(frozen=True)
class RemoteFile:
    """A published file of a data set, with download URLs and checksums.

    Parameters
    ----------
    name : str
        Published file name.
    md5s : tuple of str
        Accepted MD5 sums.
    urls : tuple of str
        URLs to download the file from.
    content_md5 : str, optional
        For a gzip file: MD5 sum of the uncompressed content. Any file with this content is accepted.
    unpacked_to : str, optional
        For an archive: the folder it unpacks to, accepted in its place if all `members` are there.
    members : tuple of (str, str)
        Required files in that folder, with their MD5 sums.
    """

    name: str
    md5s: tuple[str, ...]
    urls: tuple[str, ...]
    content_md5: str | None = None
    unpacked_to: str | None = None
    members: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Accepted file names, preferred first: as published, then uncompressed."""
        return (self.name,) if self.content_md5 is None else (self.name, self.name.removesuffix(".gz"))


@dataclass(frozen=True)
class DatasetSpec:
    """Description of a data set, known before its files are opened.

    `torchvision_folder` is where torchvision keeps the files below its root; `debian_package` installs
    them in ``/usr/share/datasets/<name>``. `mirrored` is true if mirroring an image preserves its class.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    n_train: int
    n_test: int
    class_names: tuple[str, ...]
    read: Callable[[formats.Files], formats.RawParts]
    files: tuple[RemoteFile, ...] = ()
    torchvision_folder: str = "."
    debian_package: str | None = None
    mirrored: bool = False


_Four = tuple[str, str, str, str]


def _mnist_files(
    mirrors: tuple[str, ...], *md5s: _Four, contents: _Four | tuple[None, ...] = (None,) * 4
) -> tuple[RemoteFile, ...]:
    names = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )
    return tuple(
        RemoteFile(name, tuple(sums), tuple(mirror + name for mirror in mirrors), content)
        for name, content, *sums in zip(names, contents, *md5s, strict=True)
    )


_DIGITS = tuple("0123456789")

_SPECS = (
    DatasetSpec(
        name="fashion-mnist",
        title="clothes, 10 classes",
        shape=(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        read=formats.read_mnist_like,
        files=_mnist_files(
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            (
                "cf8536b0aa1a6ac5fa3f23001093305c",
                "10bea18fdb374794d4bb42e356e600c9",
                "f78720b4224f21cce2f2ccf2d7a94c9a",
                "0d30e22e447f3c33dab9ed536400ac01",
            ),
            contents=(
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                "9018921c3c673c538a1fc5bad174d6f9",
                "8181f5470baa50b63fa0f6fddb340f0a",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
        ),
        torchvision_folder="FashionMNIST/raw",
        debian_package="dataset-fashion-mnist",
        mirrored=True,
    ),
    DatasetSpec(
        name="mnist",
        title="handwritten digits, 10 classes",
        shape=(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        class_names=_DIGITS,
        read=formats.read_mnist_like,
        files=_mnist_files(
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            contents=(
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
        ),
        torchvision_folder="MNIST/raw",
    ),
    DatasetSpec(
        name="kmnist",
        title="cursive Japanese characters, 10 classes",
        shape=(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        read=formats.read_mnist_like,
        files=_mnist_files(
            ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
            (
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ),
        ),
        torchvision_folder="KMNIST/raw",
    ),
    DatasetSpec(
        name="emnist-balanced",
        title="handwritten digits and letters, 47 classes",
        shape=(1, 28, 28),
        n_train=112_800,
        n_test=18_800,
        class_names=tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"),
        read=formats.read_emnist_balanced,
        files=(
            RemoteFile(
                "gzip.zip",
                ("58c8d27c78d21e728a6bc7b3cc06412e",),
                ("https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",),
            ),
        ),
        torchvision_folder="EMNIST/raw",
    ),
    DatasetSpec(
        name="cifar10",
        title="small colour photographs, 10 classes",
        shape=(3, 32, 32),
        n_train=50_000,
        n_test=10_000,
        class_names=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        read=formats.read_cifar10,
        files=(
            RemoteFile(
                "cifar-10-python.tar.gz",
                ("c58f30108f718f92721af3b95e74349a",),
                ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
                unpacked_to="cifar-10-batches-py",
                members=(
                    ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
                    ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
                    ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
                    ("data_batch_4", "634d18415352ddfa80567beed471001a"),
                    ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
                    ("test_batch", "40351d587109b95175f43aff81a1287e"),
                    ("batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
                ),
            ),
        ),
        mirrored=True,
    ),
    DatasetSpec(
        name="svhn",
        title="house numbers in colour, 10 classes",
        shape=(3, 32, 32),
        n_train=73_257,
        n_test=26_032,
        class_names=_DIGITS,
        read=formats.read_svhn,
        files=(
            RemoteFile(
                "train_32x32.mat",
                ("e26dedcc434d2e4c54c9b2d4a06d8373",),
                ("http://ufldl.stanford.edu/housenumbers/train_32x32.mat",),
            ),
            RemoteFile(
                "test_32x32.mat",
                ("eb5a983be6a315427106f1b164d9cef3",),
                ("http://ufldl.stanford.edu/housenumbers/test_32x32.mat",),
            ),
        ),
    ),
    DatasetSpec(
        name="digits",
        title="scikit-learn's digits, 10 classes, embedded",
        shape=(1, 8, 8),
        n_train=1_347,
        n_test=450,
        class_names=_DIGITS,
        read=formats.read_digits,
    ),
)

CATALOG = {spec.name: spec for spec in _SPECS}


def find_spec(name: str) -> DatasetSpec:
    """Return the data set named `name`.

    Raises
    ------
    UsageError
        If there is no such data set; the message lists all of them.
    """
    try:
        return CATALOG[name]
    except KeyError:
        raise UsageError(f"unknown data set {name!r}; choose one of {', '.join(CATALOG)}") from None
