"""The consistency loss: what its parts compute, and that it sees no more than it should."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_ssl.training import consistency
from gpu_ssl.training.consistency import (
    MOMENTUM,
    Alignment,
    ConfidenceWeight,
    ConsistencyObjective,
    PseudoLabels,
    SupervisedObjective,
    sharpened,
)
from gpu_ssl.training.joint import JointBatch

CPU = torch.device("cpu")
TEACHER = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]])


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 12).reshape(4, 3))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> tuple[JointBatch, JointBatch]:
    """Images of four pixels, whose weak view is the image and whose strong view, unmixed, is upside down."""
    monkeypatch.setattr(consistency, "weak_view", lambda images, mirror, generator: images)
    monkeypatch.setattr(consistency, "strong_view", lambda images, mirror, generator: images.flip(2))
    monkeypatch.setattr(consistency, "cut_mix", lambda images, generator: (images, torch.ones(len(images))))
    generator = torch.Generator().manual_seed(0)
    labelled = torch.rand(2, 1, 2, 2, generator=generator)
    unlabelled = torch.rand(3, 1, 2, 2, generator=generator)
    return (
        JointBatch(labelled, torch.tensor([0, 1]), torch.tensor([2, 0])),
        JointBatch(unlabelled, torch.tensor([3, 0, 2])),
    )


def objective(weight: float = 0.6) -> ConsistencyObjective:
    return ConsistencyObjective(PseudoLabels(TEACHER, weight), False, torch.Generator())


def test_alignment_divides_by_the_running_mean() -> None:
    align = Alignment(2, CPU)
    given = torch.tensor([[0.9, 0.1], [0.7, 0.3]])
    mean = MOMENTUM * torch.tensor([0.5, 0.5]) + (1 - MOMENTUM) * torch.tensor([0.8, 0.2])
    expected = given / mean
    torch.testing.assert_close(align(given), expected / expected.sum(1, keepdim=True))
    for _ in range(2000):
        aligned = align(given)
    assert abs(float(aligned.mean(0)[0]) - 0.5) < 0.05


def test_confidence_at_the_mean_or_above_weighs_one_and_less_below() -> None:
    weight = ConfidenceWeight(10, CPU)
    confidences = torch.tensor([0.2, 0.5, 0.8])
    for _ in range(3000):
        weights = weight(confidences)
    deviation = confidences.std()
    expected = torch.exp(-0.5 * (2 * (0.2 - 0.5) / deviation) ** 2)
    torch.testing.assert_close(
        weights, torch.stack([expected, torch.ones(()), torch.ones(())]), atol=1e-4, rtol=0
    )


def test_pseudo_labels_mix_network_and_teacher(batches: tuple[JointBatch, JointBatch]) -> None:
    network, (_, unlabelled) = Linear(), batches
    own = Alignment(3, CPU)(network(unlabelled.images).softmax(1).detach())
    for weight in (0.0, 0.6, 1.0):
        mixed = own ** (1 - weight) * sharpened(TEACHER)[unlabelled.rows] ** weight
        classes, weights = PseudoLabels(TEACHER, weight)(network(unlabelled.images), unlabelled.rows)
        assert torch.equal(classes, mixed.argmax(1))
        assert ((weights >= 0) & (weights <= 1)).all()
    assert torch.equal(classes[:2], torch.tensor([1, 0]))  # what the teacher is sure of


def test_the_loss_is_cross_entropy_of_weak_labelled_and_strong_unlabelled_views(
    batches: tuple[JointBatch, JointBatch],
) -> None:
    network, (labelled, unlabelled) = Linear(), batches
    assert labelled.classes is not None
    classes, weights = PseudoLabels(TEACHER, 0.6)(network(unlabelled.images), unlabelled.rows)
    strong = F.cross_entropy(network(unlabelled.images.flip(2)), classes, reduction="none")
    supervised = F.cross_entropy(network(labelled.images), labelled.classes)
    full = supervised + (weights * strong).mean()
    torch.testing.assert_close(objective()(network, labelled, unlabelled, 1.0), full)
    torch.testing.assert_close(objective()(network, labelled, unlabelled, 0.0), supervised)
    half = supervised + 0.5 * (weights * strong).mean()
    torch.testing.assert_close(objective()(network, labelled, unlabelled, 0.5), half)


def test_a_mixed_image_has_both_pseudo_labels_by_their_share_of_the_pixels(
    batches: tuple[JointBatch, JointBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one is that of the image before, with its own weight."""
    own = torch.tensor([0.25, 1.0, 0.5])
    monkeypatch.setattr(consistency, "cut_mix", lambda images, generator: (2 * images, own))
    classes, weights = torch.tensor([0, 2, 1]), torch.tensor([0.2, 1.0, 0.6])
    monkeypatch.setattr(PseudoLabels, "__call__", lambda self, logits, rows: (classes, weights))
    network, (labelled, unlabelled) = Linear(), batches
    logs = network(2 * unlabelled.images.flip(2)).log_softmax(1)
    expected = sum(
        -share * weights[row] * logs[image, classes[row]]
        for image in range(3)
        for share, row in ((own[image], image), (1 - own[image], image - 1))
    )
    loss = objective()(network, labelled, unlabelled, 1.0) - objective()(network, labelled, unlabelled, 0.0)
    torch.testing.assert_close(loss, expected / 3)


def test_pseudo_labels_carry_no_gradient(batches: tuple[JointBatch, JointBatch]) -> None:
    unlabelled = batches[1]
    classes, weights = PseudoLabels(TEACHER, 0.6)(Linear()(unlabelled.images), unlabelled.rows)
    assert not classes.requires_grad
    assert not weights.requires_grad


def test_the_baseline_sees_one_half_with_weak_and_the_other_with_strong_augmentation(
    batches: tuple[JointBatch, JointBatch],
) -> None:
    network, (labelled, unlabelled) = Linear(), batches
    seen = torch.stack([labelled.images[0], labelled.images[1].flip(1)])  # strong is upside down
    assert labelled.classes is not None
    expected = F.cross_entropy(network(seen), labelled.classes)
    loss = SupervisedObjective(False, torch.Generator())(network, labelled, unlabelled, 0.5)
    torch.testing.assert_close(loss, expected)


def test_with_many_images_the_baseline_sees_rectangles_instead(
    batches: tuple[JointBatch, JointBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, (labelled, unlabelled) = Linear(), batches
    monkeypatch.setattr(consistency, "erased_view", lambda images, mirror, generator: 0 * images)
    seen = torch.stack([labelled.images[0], 0 * labelled.images[1]])
    assert labelled.classes is not None
    expected = F.cross_entropy(network(seen), labelled.classes)
    loss = SupervisedObjective(False, torch.Generator(), many=True)(network, labelled, unlabelled, 0.5)
    torch.testing.assert_close(loss, expected)


def test_the_baseline_takes_no_notice_of_unlabelled_images(batches: tuple[JointBatch, JointBatch]) -> None:
    network, (labelled, unlabelled) = Linear(), batches
    baseline = SupervisedObjective(False, torch.Generator())
    other = JointBatch(1 - unlabelled.images, unlabelled.rows)
    assert torch.equal(baseline(network, labelled, unlabelled, 0.5), baseline(network, labelled, other, 0.5))


def test_sharpened_probabilities_are_squares_of_at_least_a_thousandth() -> None:
    sharp = sharpened(TEACHER)
    torch.testing.assert_close(sharp.sum(1), torch.ones(4))
    assert sharp.min() > 0
    torch.testing.assert_close(sharp[0, 0] / sharp[0, 1], torch.tensor((0.701 / 0.201) ** 2))
