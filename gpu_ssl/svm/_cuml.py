"""cuML's SVC as a backend: each pair is one binary fit on the GPU, without copies to the host.

Small pairs of more than `MANY` classes are the exception: each takes cuML milliseconds and LIBSVM
microseconds, so the host solves them.

cuML's own multi-class SVC copies everything to the host and runs scikit-learn's one-vs-one there (cuml 26.10,
``cuml/multiclass``); its binary SVC does not. tests/contract verifies what this file relies on.

Memory: three libraries allocate on the GPU. torch keeps its own cache; cuML and CuPy share RMM (importing
cuml makes it CuPy's allocator), which is given CUDA's stream-ordered pool here, once, unless the caller has
configured it. torch's unused cache is released before a fit.

Streams: torch and CuPy work on the legacy default stream, cuML on the per-thread one of the thread that calls
it. Both are blocking streams, so each waits for the other's earlier work (CUDA Runtime API, "Stream
synchronization behavior"); a worker waits for its own stream before it returns.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cupy
import numpy as np
import rmm.mr
import torch
from cuml.svm import SVC
from numpy.typing import NDArray
from sklearn import config_context

from gpu_ssl.errors import DeviceError, TrainingError
from gpu_ssl.runtime import interop
from gpu_ssl.runtime.arrays import Array
from gpu_ssl.svm._sklearn import ALONE, SklearnBackend
from gpu_ssl.svm.pairs import (
    MOST_ITERATIONS,
    BinarySVM,
    PairByPair,
    PairSolutions,
    Penalty,
    class_slices,
    join_pairs,
    solve_concurrently,
)

WORKERS = 4
"""Number of pairs fitted in parallel: the SMO solver occupies one multiprocessor for most of its time. Of 1
to 32, 4 was the fastest or close to it on an H200 (docs/benchmarks.md)."""

MANY = 50
"""Maximum number of classes whose small pairs cuML fits, too: 51 have 1275 pairs, and 45 took 0.2 s on an
H200."""

LARGEST_CACHE_MIB = 1024
"""cuML's default. Every fit allocates the whole kernel cache, even for few points."""


KEPT_BYTES = 2**28
"""Memory that the pool of cuML and CuPy keeps when unused; the rest is released to the GPU, for torch. By
default RMM's pool releases nothing."""

logger = logging.getLogger(__name__)


class CumlBackend(PairByPair):
    """Fits on the first visible GPU; cuML 26.10 supports no other (its documentation, "Advanced Topics")."""

    name = "cuml"

    def __init__(self) -> None:
        if isinstance(rmm.mr.get_current_device_resource(), rmm.mr.CudaMemoryResource):
            try:
                pool = rmm.mr.CudaAsyncMemoryResource(release_threshold=KEPT_BYTES)
            except (RuntimeError, MemoryError) as error:
                # Some virtual GPUs have no memory pools; without one cuML is only slower.
                logger.info("cuML allocates memory without a pool: %s", _one_line(error))
            else:
                rmm.mr.set_current_device_resource(pool)

    def receive(self, latents: torch.Tensor) -> Array:
        """Take over latents as a CuPy array: the same memory, in the same layout."""
        return interop.to_cupy(latents)

    def from_host(self, array: NDArray[Any]) -> Array:
        """Copy an array to the GPU."""
        return cupy.asarray(array)

    def to_host(self, array: Array) -> NDArray[Any]:
        """Copy an array to the host."""
        host: NDArray[Any] = cupy.asnumpy(array)
        return host

    def solve_pairs(
        self,
        grouped: Array,
        sizes: Sequence[int],
        penalty: Penalty,
        weights: NDArray[np.float64] | None,
    ) -> PairSolutions:
        """Solve the binary problem of every pair; see `svm.backend.SVMBackend`."""
        if len(sizes) > MANY and 2 * sum(sizes) <= ALONE * len(sizes):
            solved = SklearnBackend().solve_pairs(self.to_host(grouped), sizes, penalty, weights)
            return PairSolutions(
                self.from_host(solved.duals), self.from_host(solved.intercepts), solved.n_iter
            )
        torch.cuda.empty_cache()
        classes = class_slices(sizes)
        on_device = None if weights is None else cupy.asarray(weights, dtype=grouped.dtype)
        cupy.cuda.get_current_stream().synchronize()

        def solve(i: int, j: int) -> BinarySVM:
            # The current stream and scikit-learn's settings are per thread. A check for finite values
            # would copy its result to the host; the points have been checked before.
            with (
                _named_errors(i, j, sizes[i] + sizes[j]),
                cupy.cuda.Stream.ptds,
                config_context(assume_finite=True),
            ):
                points = _join(grouped, classes[i], classes[j])
                own = None if on_device is None else _join(on_device, classes[i], classes[j])
                solution = _solve(points, sizes[i], penalty, own)
                cupy.cuda.Stream.ptds.synchronize()
                return solution

        return join_pairs(solve_concurrently(solve, sizes, WORKERS), sizes)


def _solve(points: Array, n_first: int, penalty: Penalty, weights: Array | None) -> BinarySVM:
    n = points.shape[0]
    labels = cupy.zeros(n, dtype=cupy.int32)
    labels[n_first:] = 1
    svc = make_svc(penalty, n).fit(points, labels, sample_weight=weights)
    # cuML lists support vectors in ascending order, but does not document it.
    order = cupy.argsort(svc.support_)
    support, coefficients = (cupy.take(part, order) for part in (svc.support_, svc.dual_coef_[0, :]))
    return BinarySVM(support, coefficients, svc.intercept_, int(svc.n_iter_[0]))


@contextmanager
def _named_errors(i: int, j: int, n_points: int) -> Iterator[None]:
    """Turn errors of a pair into one line that names the pair and the remedy."""
    where = f"classes {i} and {j} ({n_points} points)"
    try:
        yield
    except MemoryError as error:
        raise DeviceError(
            f"the GPU has too little memory to fit {where} with cuML: {_one_line(error)}; "
            "use fewer labels, or fit with scikit-learn (`svm=sklearn`)"
        ) from error
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"cuML cannot fit {where}: {_one_line(error)}; scale the data, lower C, "
            "or fit with scikit-learn (`svm=sklearn`)"
        ) from error


def make_svc(penalty: Penalty, n_points: int) -> SVC:
    """Return the unfitted binary SVC of a pair with `n_points` points.

    gamma is a number: cuML would compute "scale" for each pair, and copy it to the host.
    """
    kernel = penalty.kernel
    return SVC(
        C=penalty.C,
        kernel=kernel.name,
        degree=kernel.degree,
        gamma=kernel.gamma,
        coef0=kernel.coef0,
        tol=penalty.tol,
        # With unscaled points and a linear kernel cuML may never converge (rapidsai/cuml#7880).
        max_iter=MOST_ITERATIONS if penalty.max_iter < 0 else penalty.max_iter,
        # Memory for every kernel value twice, in float32.
        cache_size=min(LARGEST_CACHE_MIB, 1 + 2 * n_points**2 * 4 / 2**20),
        output_type="cupy",
    )


def _join(array: Array, first: slice, second: slice) -> Array:
    """Return two slices of rows as one new column-major array, which cuML reads without a copy."""
    n_first, n_second = first.stop - first.start, second.stop - second.start
    joined = cupy.empty((n_first + n_second, *array.shape[1:]), dtype=array.dtype, order="F")
    joined[:n_first, ...] = array[first, ...]
    joined[n_first:, ...] = array[second, ...]
    return joined


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
