"""Support vector classification, one-vs-one, as a scikit-learn estimator."""

import dataclasses
from typing import Any, Literal, Self

import numpy as np
from array_api_compat import device, is_cupy_array, is_torch_array
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from gpu_ssl.config import SVMBackendName
from gpu_ssl.errors import UsageError
from gpu_ssl.estimators.arrays import forget_names, like, native, on_host
from gpu_ssl.estimators.fit_state import all_or_nothing
from gpu_ssl.estimators.svc_parameters import check_parameters, resolve_gamma
from gpu_ssl.runtime.arrays import Array, array_namespace
from gpu_ssl.runtime.device import resolve_device
from gpu_ssl.runtime.interop import receive
from gpu_ssl.svm._sklearn import pack_coefficients
from gpu_ssl.svm.backend import resolve_backend, sklearn_backend
from gpu_ssl.svm.kernels import Kernel, KernelName
from gpu_ssl.svm.one_vs_one import fit_one_vs_one
from gpu_ssl.svm.pairs import Penalty


class OneVsOneSVC(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """C-support vector classification, one-vs-one, on the GPU or the CPU, compatible with scikit-learn's SVC.

    Every pair of classes is a binary problem. cuML (GPU) and scikit-learn's LIBSVM (CPU) solve several at a
    time, the ``batched`` solver in torch all at once. All pairs are scored together, from one kernel matrix.
    On a GPU, X reaches the host only if scikit-learn fits: on request, without cuML, for > 50 small classes.

    Parameters
    ----------
    C : float, default=1.0
        Penalty; smaller values regularize more.
    kernel : {"rbf", "linear", "poly", "sigmoid"}, default="rbf"
        Kernel function, see `gpu_ssl.svm.kernels.Kernel`.
    gamma : {"scale", "auto"} or float, default="scale"
        Coefficient of ``rbf``, ``poly`` and ``sigmoid``: 1 / (n_features * X.var()), 1 / n_features, or a
        number; computed once, from all of X.
    degree : int, default=3
        Degree of ``poly``.
    coef0 : float, default=0.0
        Constant of ``poly`` and ``sigmoid``.
    tol : float, default=1e-3
        Tolerance of the stopping criterion.
    class_weight : dict, "balanced" or None, default=None
        Factor of C for each class; ``balanced`` is n_samples / (n_classes * count of the class).
    break_ties : bool, default=False
        Whether ties in votes are broken by confidence, instead of by the order of the classes.
    decision_function_shape : {"ovr", "ovo"}, default="ovr"
        Columns of the decision function: one per class, or one per pair of classes.
    max_iter : int, default=-1
        Maximum number of solver iterations for each pair; -1 for no limit.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Device to compute on. ``auto`` uses the GPU if cuML works, else the CPU; ``cuda`` never falls back.
    solver : {"auto", "sklearn", "cuml", "batched"}, default="auto"
        LIBSVM on the CPU, cuML on the GPU, or LIBSVM's algorithm in torch on either, for all pairs at once.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.
    support_ : ndarray of shape (n_support,)
        Indices of the support vectors in X, grouped by class.
    n_support_ : ndarray of shape (n_classes,), int32
        Number of support vectors of each class.
    support_vectors_ : ndarray of shape (n_support, n_features)
        The support vectors.
    dual_coef_ : ndarray of shape (n_classes - 1, n_support)
        Dual coefficients, packed as scikit-learn packs them.
    intercept_ : ndarray of shape (n_pairs,)
        Constants of the decision function.
    coef_ : ndarray of shape (n_pairs, n_features)
        Weights of the features; only for ``linear``.
    class_weight_ : ndarray of shape (n_classes,)
        Factor of C for each class.
    gamma_ : float
        Coefficient of the kernel.
    n_iter_ : ndarray of shape (n_pairs,), int32
        Iterations of the solver for each pair of classes.
    device_, backend_ : Choice
        Device and solver that were used, and the reason.
    model_ : OneVsOneModel
        The fitted arrays, on that device.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    Not supported: precomputed and callable kernels, sparse X, probabilities (``probability`` and its
    ``random_state``), and LIBSVM's options (``cache_size``, ``shrinking``, ``verbose``).

    X is scored in its own precision: float32 takes half the time of float64, the precision of scikit-learn.
    On a GPU, other dtypes are converted to float32. Predictions and decision values are arrays of the library
    and device of X; predictions of classes that are not numbers are a NumPy array.

    Examples
    --------
    >>> from gpu_ssl import OneVsOneSVC
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> OneVsOneSVC(C=5, device="cpu").fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.9
    True
    """

    def __init__(
        self,
        *,
        C: float = 1.0,
        kernel: KernelName = "rbf",
        gamma: float | Literal["scale", "auto"] = "scale",
        degree: int = 3,
        coef0: float = 0.0,
        tol: float = 1e-3,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        break_ties: bool = False,
        decision_function_shape: Literal["ovo", "ovr"] = "ovr",
        max_iter: int = -1,
        device: str = "auto",
        solver: SVMBackendName = "auto",
    ) -> None:
        self.C = C
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.tol = tol
        self.class_weight = class_weight
        self.break_ties = break_ties
        self.decision_function_shape = decision_function_shape
        self.max_iter = max_iter
        self.device = device
        self.solver = solver

    @all_or_nothing
    def fit(self, X: Array, y: Array, sample_weight: Array | None = None) -> Self:
        """Fit one binary SVM for every pair of classes.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            NumPy, torch or CuPy array, or anything scikit-learn accepts as a dense array.
        y : array of shape (n_samples,)
            Class labels: numbers or strings.
        sample_weight : array of shape (n_samples,), optional
            Factor of C for each sample; samples of weight 0 are ignored.

        Returns
        -------
        OneVsOneSVC
            This estimator.

        Raises
        ------
        UsageError
            If a parameter is invalid, or there are fewer than two classes. It is a ValueError.
        DeviceError
            If the requested device cannot be used.
        """
        check_parameters(self)
        self.device_ = resolve_device(self.device)
        solver = "cuml" if self.solver == "auto" and self.device.startswith("cuda") else self.solver
        backend, self.backend_ = resolve_backend(solver, self.device_)
        # scikit-learn is imported here in any case, so it also fits few points.
        self._backend = sklearn_backend() if self.backend_.used == "sklearn" else backend
        y = column_or_1d(on_host(y), warn=True)
        points, y = self._points(X, y)
        check_classification_targets(y)
        self.classes_, labels = np.unique(native(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(f"expected at least 2 classes in y, got 1 class ({self.classes_[0]})")
        self.class_weight_ = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        weights = None
        if sample_weight is not None or self.class_weight is not None:
            given = _check_sample_weight(on_host(sample_weight), np.empty((len(y), 0)), dtype=np.float64)
            weights = given * self.class_weight_[labels]
        self.gamma_ = resolve_gamma(self.gamma, points)
        kernel = Kernel(self.kernel, self.gamma_, self.degree, self.coef0)
        penalty = Penalty(self.C, kernel, self.tol, self.max_iter)
        n_classes = len(self.classes_)
        self.model_ = fit_one_vs_one(self._backend, points, labels, n_classes, penalty, weights)
        self.support_ = self._backend.to_host(self.model_.support)
        self.n_iter_ = np.asarray(self.model_.n_iter, dtype=np.int32)
        self.n_support_ = np.array(self.model_.n_support, dtype=np.int32)
        return self

    def predict(self, X: Array) -> Array:
        """Return the class of each sample, of shape (n_samples,)."""
        check_is_fitted(self)
        check_parameters(self)
        if self.break_ties and self.decision_function_shape == "ovo":
            raise UsageError("break_ties must be False for decision_function_shape='ovo'; use 'ovr' for it")
        codes = self.model_.predict(self._points(X), self.break_ties)
        if np.issubdtype(self.classes_.dtype, np.number):
            xp = array_namespace(codes)
            classes = self._backend.from_host(self.classes_)
            return like(xp.take(classes, codes), X)
        return self.classes_[self._backend.to_host(codes)]

    def decision_function(self, X: Array) -> Array:
        """Return the decision values, in the format of scikit-learn's SVC.

        Returns
        -------
        array of shape (n_samples, n_classes), (n_samples, n_pairs), or (n_samples,) for two classes
            By `decision_function_shape`; see `gpu_ssl.svm.model.OneVsOneModel.decision_function`.
        """
        check_is_fitted(self)
        check_parameters(self)
        points = self._points(X)
        return like(self.model_.decision_function(points, self.decision_function_shape), X)

    def score(self, X: Array, y: Array, sample_weight: Array | None = None) -> float:
        """Return the accuracy, weighted by `sample_weight`."""
        predicted = on_host(self.predict(X))
        return float(accuracy_score(on_host(y), predicted, sample_weight=on_host(sample_weight)))

    @property
    def support_vectors_(self) -> NDArray[Any]:
        """The support vectors, copied to the host."""
        check_is_fitted(self)
        return self._backend.to_host(self.model_.support_vectors)

    @property
    def intercept_(self) -> NDArray[Any]:
        """The constants of the decision function, of shape (n_pairs,), signed as in scikit-learn's SVC."""
        check_is_fitted(self)
        intercepts = self._backend.to_host(self.model_.intercepts)
        return intercepts if len(self.classes_) == 2 else -intercepts

    @property
    def coef_(self) -> NDArray[Any]:
        """The weights of the features, signed as in scikit-learn's SVC; only for the linear kernel."""
        if self.kernel != "linear":
            raise AttributeError("coef_ is only available for kernel='linear'")
        check_is_fitted(self)
        # Without intercepts, the decision values at the unit vectors are the weights.
        constants = array_namespace(self.model_.intercepts).zeros_like(self.model_.intercepts)
        plain = dataclasses.replace(self.model_, intercepts=constants)
        decisions = plain.pair_rule()(self.model_.support_vectors.T)
        weights: NDArray[Any] = self._backend.to_host(decisions).T
        weights = weights if len(self.classes_) == 2 else -weights
        weights.flags.writeable = False  # predictions do not depend on this copy
        return weights

    @property
    def dual_coef_(self) -> NDArray[Any]:
        """Dual coefficients packed as in scikit-learn's SVC, of shape (n_classes - 1, n_support)."""
        check_is_fitted(self)
        return pack_coefficients(self._backend.to_host(self.model_.duals), self.n_support_)

    def _points(self, X: Array, *y: NDArray[Any]) -> Any:
        """Return X as a validated float array of the SVM library; with y (in `fit`), return both."""
        on_gpu = is_cupy_array(X) or (is_torch_array(X) and X.device.type == "cuda")
        if on_gpu and self.device_.used != "cpu" and self.backend_.used != "sklearn":
            points = self._check_device_array(X.detach() if is_torch_array(X) else X, *y)
            if self.backend_.used == "batched":
                points = receive(points)
            points = self._backend.receive(points) if is_torch_array(points) else points
        else:
            checked = validate_data(
                self, on_host(X), *y, reset=bool(y), dtype=[np.float64, np.float32], order=None
            )
            host, y = (checked[0], checked[1:]) if y else (checked, y)
            points = self._backend.from_host(host)
        return (points, *y) if y else points

    def _check_device_array(self, points: Array, *y: NDArray[Any]) -> Array:
        """Validate a device array as floats, copying only the result of the finite check to the host."""
        xp = array_namespace(points)
        place = device(points)
        index = getattr(place, "index", getattr(place, "id", 0))
        if index:
            raise UsageError(
                f"X is on GPU {index}, but only the first visible GPU is supported; set CUDA_VISIBLE_DEVICES"
            )
        if points.ndim != 2 or 0 in points.shape:
            raise UsageError(f"expected X of shape (n_samples, n_features), got {tuple(points.shape)}")
        if y:
            self.n_features_in_ = points.shape[1]
            forget_names(self)
            if y[0].shape != points.shape[:1]:
                raise UsageError(f"X has {points.shape[0]} samples, but y has shape {y[0].shape}")
        elif points.shape[1] != self.n_features_in_:
            raise UsageError(f"X has {points.shape[1]} features; expected {self.n_features_in_} as in fit")
        if not xp.isdtype(points.dtype, ("bool", "integral", "real floating")):
            raise UsageError(f"expected X with real numbers, got dtype {points.dtype}")
        if points.dtype not in (xp.float32, xp.float64):
            points = xp.astype(points, xp.float32)
        if not bool(xp.all(xp.isfinite(points))):
            raise UsageError("X contains NaN or infinity; remove or impute these values")
        return points
