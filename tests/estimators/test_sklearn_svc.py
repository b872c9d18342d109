"""scikit-learn's own tests of SVC, from the installed scikit-learn, on OneVsOneSVC."""

from types import ModuleType
from unittest import mock

import pytest
from sklearn import svm

from gpu_ssl import OneVsOneSVC


class SVC(OneVsOneSVC):
    """OneVsOneSVC by the name and with the private attributes that those tests ask for."""

    def __init__(self, *, random_state: int | None = None, **parameters: object) -> None:
        super().__init__(**{"device": "cpu", **parameters})  # type: ignore[arg-type]
        self.random_state = random_state

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return [*OneVsOneSVC._get_param_names(), "random_state"]

    @property
    def _gamma(self) -> float:
        return self.gamma_


with mock.patch("sklearn.svm.SVC", SVC):  # some are parametrized with it when they are imported
    from sklearn.svm.tests import test_svm as theirs

APPLYING = (
    "test_libsvm_iris",
    "test_decision_function",
    "test_decision_function_shape",
    "test_weight",
    "test_svm_classifier_sided_sample_weight",
    "test_svm_equivalence_sample_weight_C",
    "test_negative_weights_svc_leave_two_labels",
    "test_negative_weight_equal_coeffs",
    "test_auto_weight",
    "test_svc_nonfinite_params",
    "test_immutable_coef_property",
    "test_svc_bad_kernel",
    "test_unfitted",
    "test_consistent_decision_function",
    "test_decision_function_shape_two_class",
    "test_ovr_decision_function",
    "test_svc_invalid_break_ties_param",
    "test_svc_ovr_tie_breaking",
    "test_gamma_scale",
    "test_n_iter_libsvm",
)
"""The others are of other estimators, or of what OneVsOneSVC does not offer (see its Notes): precomputed and
callable kernels, sparse points, probabilities, an infinite C, private attributes that are changed, and
LIBSVM's words for weights that leave a class without points."""

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

for name in APPLYING:
    globals()[name] = getattr(theirs, name)


@pytest.fixture(autouse=True)
def in_place_of_svc(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their module alone: ours fits scikit-learn's SVC."""
    stand_in = ModuleType("svm")
    vars(stand_in).update(vars(svm) | {"SVC": SVC})
    monkeypatch.setattr(theirs, "svm", stand_in)


@pytest.fixture
def global_random_seed() -> int:
    return 42
