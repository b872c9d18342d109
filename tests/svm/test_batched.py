"""The batched solver agrees with LIBSVM, in as many iterations, and rarely synchronizes."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_ssl.errors import UsageError
from gpu_ssl.svm import smo
from gpu_ssl.svm._batched import BatchedBackend, _batches
from gpu_ssl.svm._sklearn import SklearnBackend
from gpu_ssl.svm.kernels import Kernel
from gpu_ssl.svm.model import OneVsOneModel
from gpu_ssl.svm.one_vs_one import Task, fit_all, fit_one_vs_one
from gpu_ssl.svm.pairs import PairSolutions, Penalty, Problem, class_pairs, class_slices
from tests.svm import clouds, fit, kernels
from tests.training.fake_cuda import fake_cuda

CPU = torch.device("cpu")
EVERYTHING_FITS, NOTHING_FITS = 2**40, 0


def solve(
    points: NDArray[Any],
    labels: NDArray[np.int64],
    penalty: Penalty,
    weights: NDArray[np.float64] | None = None,
    room: int = EVERYTHING_FITS,
) -> PairSolutions:
    """Solve the pairs of points that are grouped by class."""
    sizes = np.bincount(labels).tolist()
    return BatchedBackend(CPU, room).solve_pairs(torch.from_numpy(points), sizes, penalty, weights)


def fit_batched(
    points: NDArray[Any], labels: NDArray[np.int64], penalty: Penalty, **options: Any
) -> OneVsOneModel:
    tensor = torch.from_numpy(points)
    return fit_one_vs_one(BatchedBackend(CPU), tensor, labels, int(labels.max()) + 1, penalty, **options)


def grouped(n: int, n_classes: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    points, labels = clouds(n, n_classes, 3, seed)
    order = np.argsort(labels, kind="stable")
    return points[order], labels[order]


def assert_solved(
    points: NDArray[np.float64],
    sizes: list[int],
    penalty: Penalty,
    weights: NDArray[np.float64],
    solutions: PairSolutions,
) -> None:
    """Hold the solution of each pair to the conditions of optimality, within the tolerance (equation 6 of the
    LIBSVM paper): variables in their bounds, balanced, and no pair of them that violates by more."""
    slices, duals = class_slices(sizes), solutions.duals.numpy()
    matrix = penalty.kernel.against(points)(points)
    for (i, j), intercept in zip(class_pairs(len(sizes)), solutions.intercepts.tolist(), strict=True):
        rows = np.r_[slices[i], slices[j]]
        y = np.repeat([-1.0, 1.0], [sizes[i], sizes[j]])
        alpha = np.concatenate([duals[slices[i], j], duals[slices[j], i]])
        C = penalty.C * weights[rows]
        assert (alpha >= 0).all()
        assert (alpha <= C).all()
        assert abs(alpha @ y) < 1e-9 * C.sum()
        lacks = y - matrix[np.ix_(rows, rows)] @ (alpha * y)
        can_rise, can_fall = np.where(y > 0, alpha < C, alpha > 0), np.where(y > 0, alpha > 0, alpha < C)
        # LIBSVM's kernel values are float32 as well.
        slack = penalty.tol + 2e-6 * (1 + abs(matrix).max() * C.sum())
        assert lacks[can_rise].max() - lacks[can_fall].min() < slack
        assert lacks[can_rise].max() - slack <= intercept <= lacks[can_fall].min() + slack


@settings(max_examples=40)
@given(
    kernel=kernels,
    n_classes=st.integers(2, 6),
    n=st.integers(8, 60),
    C=st.sampled_from([0.1, 1.0, 10.0]),
    room=st.sampled_from([EVERYTHING_FITS, 40_000, NOTHING_FITS]),
    seed=st.integers(0, 10**6),
)
def test_every_pair_is_solved_to_the_tolerance(
    kernel: Kernel, n_classes: int, n: int, C: float, room: int, seed: int
) -> None:
    points, labels = grouped(n, n_classes, seed)
    weights = np.random.default_rng(seed).choice([0.3, 1.0, 4.0], len(labels))
    penalty = Penalty(C, kernel, max_iter=20_000)
    solutions = solve(points, labels, penalty, weights, room)
    if (solutions.n_iter < penalty.max_iter).all():
        assert_solved(points, np.bincount(labels).tolist(), penalty, weights, solutions)


@pytest.mark.parametrize("fault", ["dual", "constant", "bound"])
def test_the_conditions_find_a_planted_fault(fault: str) -> None:
    points, labels = grouped(40, 3, 0)
    solutions, weights = solve(points, labels, Penalty(1.0, Kernel())), np.ones(len(points))
    if fault == "constant":
        solutions.intercepts[1] += 0.5
    else:
        solutions.duals[0, 1] += 0.2 if fault == "dual" else 2.0
    with pytest.raises(AssertionError):
        assert_solved(points, np.bincount(labels).tolist(), Penalty(1.0, Kernel()), weights, solutions)


@pytest.mark.parametrize("name", ["rbf", "linear", "poly"])
def test_with_a_small_tolerance_decisions_are_those_of_scikit_learn(name: Any) -> None:
    points, labels = clouds(150, 5, 4, seed=3)
    new, weights = clouds(400, 5, 4, seed=4)[0], np.random.default_rng(0).uniform(0.2, 3, len(labels))
    penalty = Penalty(0.5, Kernel(name, gamma=0.2, degree=2, coef0=0.5), tol=1e-6)
    ours = fit_batched(points, labels, penalty, weights=weights)
    theirs = fit_one_vs_one(SklearnBackend(), points, labels, 5, penalty, weights)
    expected = theirs.pair_decisions(new)
    found = ours.pair_decisions(torch.from_numpy(new)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3 * abs(expected).max())
    assert np.mean(ours.predict(torch.from_numpy(new)).numpy() == theirs.predict(new)) > 0.995


def test_it_takes_the_iterations_of_libsvm() -> None:
    """Equal steps need equal working sets, kernel values in float32, and the same of several equals."""
    points, labels = clouds(600, 10, 8, seed=0)
    penalty = Penalty(1.0, Kernel(gamma=0.05))
    ours, theirs = fit_batched(points, labels, penalty), fit(points, labels, penalty.kernel)
    assert ours.n_iter is not None
    assert theirs.n_iter is not None
    assert np.mean(ours.n_iter == theirs.n_iter) > 0.7
    np.testing.assert_allclose(ours.n_iter, theirs.n_iter, rtol=0.2, atol=5)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), counts=st.lists(st.integers(8, 60), min_size=2, max_size=4))
def test_several_choices_at_once_give_what_each_gives_alone(seed: int, counts: list[int]) -> None:
    """Of other sizes, other penalties and other numbers of classes, cut into whatever batches."""
    rng = np.random.default_rng(seed)
    problems = []
    for position, n in enumerate(counts):
        points, labels = grouped(n, int(rng.integers(2, 6)), seed + position)
        penalty = Penalty(float(rng.choice([0.5, 2.0])), Kernel(gamma=float(rng.choice([0.1, 0.7]))))
        weights = rng.uniform(0.5, 2, len(points)) if position % 2 else None
        problems.append(Problem(torch.from_numpy(points), np.bincount(labels).tolist(), penalty, weights))
    together = BatchedBackend(CPU, 60_000).solve_all(problems)
    for problem, found in zip(problems, together, strict=True):
        alone = BatchedBackend(CPU).solve_pairs(*problem)
        assert found.duals.shape == alone.duals.shape
        np.testing.assert_array_equal(found.n_iter.shape, alone.n_iter.shape)
        weights = np.ones(len(problem.grouped)) if problem.weights is None else problem.weights
        assert_solved(problem.grouped.numpy(), list(problem.sizes), problem.penalty, weights, found)


def test_kernels_of_another_kind_are_not_solved_together() -> None:
    points, labels = grouped(20, 2, 0)
    problems = [
        Problem(torch.from_numpy(points), np.bincount(labels).tolist(), Penalty(1.0, Kernel(name)), None)
        for name in ("rbf", "linear")
    ]
    with pytest.raises(ValueError, match="of one kind"):
        BatchedBackend(CPU).solve_all(problems)


@given(
    sizes=st.lists(st.integers(2, 500), min_size=1, max_size=60),
    width=st.integers(1, 900),
    room=st.integers(0, 10**7),
)
def test_batches_hold_every_pair_once_in_the_memory_there_is(sizes: list[int], width: int, room: int) -> None:
    given_sizes, seen = np.array(sizes), []
    for chosen, fits in _batches(given_sizes, width, room):
        seen += chosen.tolist()
        own = given_sizes[chosen]
        assert own.min() * 2 >= own.max() - 1, "padding at most doubles a problem"
        values = 4 * len(own) * int(own.max()) ** 2
        assert values <= room if fits else len(own) == 1
    assert sorted(seen) == list(range(len(sizes)))


def test_a_solver_that_stops_early_is_told_once_and_a_missing_class_is_named() -> None:
    points, labels = clouds(200, 5, 3, seed=0)
    with pytest.warns(ConvergenceWarning, match="of 10 pairs of classes"):
        fit_batched(points, labels, Penalty(100.0, Kernel(), max_iter=3))
    with pytest.raises(UsageError, match="class 1 has no labelled point"):
        fit_batched(points[:3], np.array([0, 0, 2]), Penalty(1.0, Kernel()))


def test_one_class_of_a_single_point_each() -> None:
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    ours = fit_batched(points, np.array([0, 1]), Penalty(1.0, Kernel("linear")))
    theirs = SVC(kernel="linear").fit(points, [0, 1])
    decisions = ours.decision_function(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(decisions, theirs.decision_function(points), atol=1e-6)


class Looks(TorchDispatchMode):
    """Counts what a GPU would be waited for: values, positions of unknown number, copies to the host."""

    WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        if name in self.WAITS or (name.startswith("index") and _has_mask(args)):
            self.asked.append(name)
        return func(*args, **(kwargs or {}))


def _has_mask(args: Any) -> bool:
    listed = [one for arg in args if isinstance(arg, list | tuple) for one in arg]
    return any(isinstance(one, Tensor) and one.dtype == torch.bool for one in listed)


def test_solving_looks_at_the_device_once_in_so_many_iterations() -> None:
    labels = np.repeat(np.arange(4), 100)  # of one size, they are one batch
    points = np.random.default_rng(0).normal(size=(400, 8)) + labels[:, None] / 2
    with Looks() as looks:
        solutions = solve(points, labels, Penalty(10.0, Kernel(gamma=0.05)))
    most = int(solutions.n_iter.max())
    assert most > 2 * smo.LOOK
    # In one look more they see that the last has converged, in the iteration that moves nothing.
    assert looks.asked == ["nonzero"] * math.ceil((most + 1) / smo.LOOK)


def make_solver(device: torch.device) -> smo.Solver:
    values = torch.eye(6, device=device).expand(3, 6, 6)
    y = torch.tensor([1.0, 1, 1, -1, -1, 0], dtype=torch.float64, device=device).repeat(3, 1)
    return smo.Solver(lambda p, i: values[p, i], values.diagonal(dim1=1, dim2=2), y, 2 * y.abs(), 1e-3)


def test_an_iteration_runs_on_cuda_and_asks_for_no_value() -> None:
    """On fake CUDA tensors, where mixing devices raises and so does asking for a value."""
    with fake_cuda():
        solver = make_solver(torch.device("cuda", 0))
        solver.iterate()
        state = (solver.b, solver.v, solver.n_iter, solver.moves)
        assert {tensor.device.type for tensor in state} == {"cuda"}
        assert {tensor.dtype for tensor in state[:2]} == {torch.float64}
        with pytest.raises(RuntimeError):
            solver.solve(as_graph=False)  # which looks


def problem_of(n: int) -> Problem:
    points, labels = grouped(n, 5, 1)
    sizes = np.bincount(labels).tolist()
    return Problem(torch.from_numpy(points), sizes, Penalty(10.0, Kernel(gamma=0.3)), None)


@pytest.mark.parametrize("works", [True, False])
def test_a_graph_of_iterations_gives_what_launching_each_gives(
    monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """With a stand-in for the graph, which repeats what was recorded; or which cannot be recorded."""
    recorded, replayed = [], []

    class Recorded:
        def __init__(self, work: Any) -> None:
            self.work = work

        def replay(self) -> None:
            replayed.append(1)
            self.work()

    def record(work: Any, device: torch.device) -> Any:
        recorded.append(device)
        return Recorded(work) if works else None

    monkeypatch.setattr(smo, "record", record)
    expected = BatchedBackend(CPU).solve_pairs(*problem_of(80))
    honest = smo.Solver.solve
    monkeypatch.setattr(smo.Solver, "solve", lambda self, as_graph: honest(self, as_graph=True))
    found = BatchedBackend(CPU).solve_pairs(*problem_of(80))
    assert len(recorded) >= 1
    assert bool(replayed) == works
    np.testing.assert_array_equal(found.n_iter, expected.n_iter)
    np.testing.assert_array_equal(found.duals, expected.duals)
    np.testing.assert_array_equal(found.intercepts, expected.intercepts)


def test_models_are_fitted_at_once_in_the_order_given() -> None:
    tasks = []
    for seed in range(3):
        points, labels = clouds(50, 3, 2, seed)
        weights = np.where(np.arange(len(labels)) % 7 == 0, 0.0, 1.0)
        weights[[int(np.flatnonzero(labels == c)[0]) for c in range(3)]] = 1
        tasks.append(Task(torch.from_numpy(points), labels, 3, Penalty(1.0, Kernel()), weights))
    for task, model in zip(tasks, fit_all(BatchedBackend(CPU), tasks), strict=True):
        theirs = fit(task.points.numpy(), task.labels, Kernel(), weights=task.weights)
        assert model.support.tolist() == theirs.support.tolist()
        np.testing.assert_allclose(model.duals, theirs.duals, atol=0.05)
