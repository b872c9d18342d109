"""The complete pipeline as a scikit-learn classifier for partially labelled images."""

import tempfile
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from gpu_ssl.config import FitConfig, SVMConfig
from gpu_ssl.data.own import OwnImages
from gpu_ssl.data.positions import Positions
from gpu_ssl.encoders import given
from gpu_ssl.encoders.encoder import BLOCK
from gpu_ssl.errors import UsageError
from gpu_ssl.estimators.embeddings import rows_on_host, take_embeddings
from gpu_ssl.estimators.fit_state import all_or_nothing
from gpu_ssl.estimators.images import ImageShape, PixelFormat, learning_settings
from gpu_ssl.estimators.labels import class_name, encoded, labels_of
from gpu_ssl.fitted import storage
from gpu_ssl.fitted.fitting import FEWEST, fit
from gpu_ssl.runtime.files import alone_in
from gpu_ssl.runtime.progress import SILENT


def _folder_of(folder: Path | str) -> Path:
    """Return a folder as a path; an empty one is refused, which Python takes for the current folder."""
    if folder == "":
        raise UsageError("the path of the folder is empty")
    return Path(folder)


class SemiSupervisedClassifier(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    ClassifierMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Semi-supervised image classifier: an encoder learns from all images, a classifier from a few labels.

    X has a shape that `VAETransformer` accepts. With ``encoder="given"`` it holds precomputed embeddings
    (n, d) from NumPy, torch, CuPy or another library with DLPack; float32 arrays on the device of the model
    are not copied. In `y`, unlabelled samples are marked by -1, NaN, None, an empty string, or a word such as
    "unlabelled". Probabilities are calibrated by cross-validation on the labelled images.

    ``VotingClassifier`` and ``cross_val_predict(method="predict_proba")`` of scikit-learn renumber labels and
    so make a class of -1: give them labelled samples only.

    Parameters
    ----------
    C : float, default=5.0
        Penalty of the SVM.
    method : str, default="auto"
        Classification method; see ``gpu-ssl fit --help``. ``auto`` chooses by cross-validation.
    encoder : str, optional
        Encoder, such as ``vae``, ``hog`` or ``vae+hog``; the default depends on the method. ``given`` means
        that X holds embeddings.
    class_weight : {"balanced"}, optional
        ``balanced`` multiplies the penalty of each class by n_labelled / (n_classes * count of the class).
    effort : {"quick", "normal", "best", "auto"}, default="quick"
        Whether the method ``auto`` may train a network, which takes minutes on a CPU (``normal``), and
        whether three are trained (``best``); ``auto`` is ``normal`` on a GPU and ``quick`` on a CPU.
    latent_dim, kl_weight, network, epochs, batch_size, mirror, image_shape, random_state, device
        See `VAETransformer`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.
    model_ : FittedModel
        The encoder, the classifier and the calibration.
    record_ : ModelRecord
        Settings and results of the fit: `record_.chosen` is the method, `record_.estimate` the expected
        accuracy (None if fewer than two classes have two labels).
    suspects_ : tuple of SuspectLabel
        Labels passed to `fit` that look wrong; their `path` is the position in X. Empty after `load`.
    pixels_ : PixelFormat
        Conversion of X to images.
    n_features_in_ : int
        Size of the second axis of X.

    Examples
    --------
    >>> import numpy as np
    >>> from gpu_ssl import SemiSupervisedClassifier
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = np.where(np.arange(1797) < 200, digits.target, -1)
    >>> model = SemiSupervisedClassifier(mirror=False, epochs=5, random_state=0, device="cpu")
    >>> model = model.fit(digits.images, y)
    >>> model.score(digits.images[200:], digits.target[200:]) > 0.8
    True
    """

    def __init__(
        self,
        C: float = 5.0,
        *,
        method: str = "auto",
        encoder: str | None = None,
        class_weight: Literal["balanced"] | None = None,
        effort: Literal["quick", "normal", "best", "auto"] = "quick",
        latent_dim: int = 64,
        kl_weight: float = 0.05,
        network: Literal["auto", "conv", "mlp"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        mirror: bool = True,
        image_shape: ImageShape | None = None,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.C = C
        self.method = method
        self.encoder = encoder
        self.class_weight = class_weight
        self.effort = effort
        self.latent_dim = latent_dim
        self.kl_weight = kl_weight
        self.network = network
        self.epochs = epochs
        self.batch_size = batch_size
        self.mirror = mirror
        self.image_shape = image_shape
        self.random_state = random_state
        self.device = device

    @all_or_nothing
    def fit(self, X: Any, y: Any) -> Self:
        """Fit the model to images X (n, ...) and labels `y` (n,), with -1 for unlabelled samples.

        Raises
        ------
        UsageError
            If X, `y` or a parameter is invalid. It is a ValueError.
        """
        are_embeddings = self.encoder == given.NAME
        X = take_embeddings(self, X, reset=True) if are_embeddings else validate_data(self, X, allow_nd=True)
        if y is None:
            raise UsageError("this classifier requires y to be passed, but the target y is None")
        labels = labels_of(y)
        if len(labels) != len(X):
            raise UsageError(f"X has {len(X)} samples, but y has {len(labels)} entries")
        if len(X) < FEWEST:
            raise UsageError(f"{len(X)} samples are too few to learn from; give at least {FEWEST}")
        self.classes_, classes = encoded(labels)
        if are_embeddings:
            self.pixels_, images = PixelFormat.of_embeddings(X.shape[3]), rows_on_host(X)
        else:
            self.pixels_ = PixelFormat.of(X, self.image_shape)
            images = self.pixels_.to_images(X)
        class_names = tuple(map(class_name, self.classes_))
        own_images = OwnImages(Positions(len(X)), images, classes, class_names, {})
        placed = X if isinstance(X, Tensor) else None
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "checkpoint.json"
            fitted = fit(own_images, self._config(), checkpoint, SILENT, placed=placed)
        self.model_, self.record_, self.suspects_ = fitted.model, fitted.record, fitted.suspects
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each sample, of shape (n,)."""
        codes = self._predicted(X, "classes")
        classes: NDArray[Any] = self.classes_[codes]
        return classes

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return class probabilities of shape (n, n_classes), largest for the class of `predict`.

        They are float32, because further digits would depend on the other images of the batch.
        """
        return self._predicted(X, "probabilities").astype(np.float32)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on X (n, ...), counting every sample of `y` (n,) as scikit-learn does.

        A sample with -1 in `y` counts as wrong, since no class is called so; NaN and None are invalid. For
        ``cross_val_score`` on partly labelled data give ``scoring=gpu_ssl.labelled_accuracy``.
        """
        return float(super().score(X, y, sample_weight))

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return features of X, of shape (n, n_features), float32: latents if the model has a VAE."""
        return self._predicted(X, "features")

    def ood_score(self, X: Any) -> NDArray[np.float32]:
        """Return out-of-distribution scores of shape (n,); above 1 is unusual; see `fitted.ood.OODScore`."""
        return self._predicted(X, "ood_scores")

    def save(self, folder: Path | str) -> None:
        """Save the model for `gpu_ssl.load` and ``gpu-ssl predict``, with its card and page.

        The page, ``report.html``, has no images of X: the model does not keep them.

        Raises
        ------
        UsageError
            If the folder holds a model already.
        StorageError
            If a file cannot be written.
        """
        from gpu_ssl.report.model_folder import write_without_images

        check_is_fitted(self)
        place = _folder_of(folder)
        labels = tuple(self.classes_.tolist())
        pixels = None if self.record_.takes_embeddings else self.pixels_.record()
        columns = tuple(self.feature_names_in_) if hasattr(self, "feature_names_in_") else None
        found = {"pixels": pixels, "class_labels": labels, "feature_names": columns}
        record = self.record_.model_copy(update=found)
        with alone_in(place):
            if (place / storage.MODEL).exists():
                raise UsageError(f"{folder} holds a model already; give another folder, or delete it")
            write_without_images(place, self.model_, record, self.suspects_)

    @classmethod
    def load(cls, folder: Path | str, device: str = "auto") -> Self:
        """Load a model saved by `save` or ``gpu-ssl fit``.

        Parameters
        ----------
        folder : Path or str
            Folder of the model.
        device : str
            Device to compute on: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises
        ------
        UsageError, StorageError
            If there is no model, or a file is damaged.
        """
        model, record = storage.load(_folder_of(folder), device)
        config, pixels = record.config, PixelFormat.of_record(record)
        of_rows = len(pixels.sample_shape) == 1 and pixels.is_image
        known = cls(
            config.svm.C,
            method=config.method,
            encoder=config.encoder,
            class_weight="balanced" if config.svm.class_weight == "balanced" else None,
            effort=config.effort,
            latent_dim=config.model.latent_dim,
            kl_weight=config.model.kl_weight,
            network=config.model.network,  # type: ignore[arg-type]
            epochs=config.train.epochs,
            batch_size=config.train.batch_size,
            mirror=config.mirror,
            image_shape=record.image_shape if of_rows else None,
            random_state=config.seed,
            device=device,
        )
        known.model_, known.record_, known.suspects_ = model, record, ()
        known.pixels_ = pixels
        known.classes_ = np.array(record.class_names if record.class_labels is None else record.class_labels)
        known.n_features_in_ = known.pixels_.sample_shape[0]
        if record.feature_names is not None:
            known.feature_names_in_ = np.array(record.feature_names, dtype=object)
        return known

    def _predicted(self, X: Any, part: str) -> NDArray[Any]:
        """Return one field of `Answers` for all samples, computed in blocks to bound memory."""
        check_is_fitted(self)
        images: NDArray[Any] | Tensor
        if self.model_.takes_embeddings:
            images = take_embeddings(self, X, reset=False)
        else:
            X = validate_data(self, self.pixels_.in_order(X), allow_nd=True, reset=False)
            images = self.pixels_.to_images(X)
        blocks = (images[start : start + BLOCK] for start in range(0, max(len(images), 1), BLOCK))
        return np.concatenate([getattr(self.model_.predict(block), part) for block in blocks])

    def _config(self) -> FitConfig:
        learning = learning_settings(
            *(self.pixels_, self.network, self.latent_dim, self.kl_weight),
            *(self.epochs, self.batch_size, self.random_state, self.device),
        )
        return FitConfig.of(
            **{
                **dict(learning),
                "svm": SVMConfig.of(C=self.C, class_weight=self.class_weight),
                "mirror": self.mirror,
                "method": self.method,
                "encoder": self.encoder,
                "effort": self.effort,
            }
        )

    def __sklearn_tags__(self) -> Any:
        """Declare that features are float32 for every dtype of X."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        """Number of features, from which scikit-learn derives column names."""
        return self.model_.ood.encoder.width
