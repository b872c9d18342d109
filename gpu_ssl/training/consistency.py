"""Consistency regularization: pseudo-labels of weakly augmented images supervise strongly augmented ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_ssl.training.augmentation import cut_mix, erased_view, strong_view, weak_view
from gpu_ssl.training.joint import JointBatch

MOMENTUM = 0.99
"""Decay of the running statistics."""

SIGMAS = 2.0
"""Factor of the standardized confidence: at -1, a weight is exp(-SIGMAS^2 / 2); see `ConfidenceWeight`."""


class Alignment:
    """Distribution alignment (Berthelot et al. 2020, section 3.1), for equally frequent classes.

    There the pseudo-labels follow the class frequencies of the labelled images; here labelled images are
    sampled with equally many of each class, and the frequencies are taken to be uniform.
    """

    def __init__(self, n_classes: int, device: torch.device) -> None:
        self.mean = torch.full((n_classes,), 1 / n_classes, device=device)

    def __call__(self, probabilities: Tensor) -> Tensor:
        """Return `probabilities` (n, n_classes) divided by their running mean, rows summing to 1."""
        self.mean.lerp_(probabilities.mean(dim=0), 1 - MOMENTUM)
        aligned = probabilities / self.mean
        return aligned / aligned.sum(dim=1, keepdim=True)


class ConfidenceWeight:
    """Weights of pseudo-labels: 1 from the mean confidence on, less below (Chen et al. 2023, *SoftMatch*).

    A threshold that follows the network's confidence keeps images that a fixed one would drop.
    """

    def __init__(self, n_classes: int, device: torch.device) -> None:
        self.mean = torch.full((), 1 / n_classes, device=device)
        self.variance = torch.ones((), device=device)

    def __call__(self, confidences: Tensor) -> Tensor:
        """Return the weight of each of `confidences` (n,)."""
        self.mean.lerp_(confidences.mean(), 1 - MOMENTUM)
        self.variance.lerp_(confidences.var(), 1 - MOMENTUM)
        below = (confidences - self.mean).clamp(max=0) / self.variance.sqrt()
        return torch.exp(-0.5 * (SIGMAS * below) ** 2)


class SupervisedObjective:
    """Cross-entropy of labelled images only, half of each batch with weak augmentation.

    The other half has strong augmentation, without which a network learns few images by heart; or, of many
    images, which it would distort for nothing, only a black rectangle (docs/experiments/accuracy.md).

    Parameters
    ----------
    mirror : bool
        Whether mirroring keeps the class.
    generator : torch.Generator
        Source of randomness, on the device of the images.
    many : bool
        Whether there are many labelled images.
    """

    def __init__(self, mirror: bool, generator: torch.Generator, many: bool = False) -> None:
        self.mirror, self.generator = mirror, generator
        self.other_view = erased_view if many else strong_view

    def __call__(
        self, network: nn.Module, labelled: JointBatch, unlabelled: JointBatch, ramp: float | Tensor
    ) -> Tensor:
        """Return the loss of a step; see `training.joint.JointObjective`."""
        assert labelled.classes is not None
        n = len(labelled.images) // 2
        weak = weak_view(labelled.images[:n], self.mirror, self.generator)
        other = self.other_view(labelled.images[n:], self.mirror, self.generator)
        return F.cross_entropy(network(torch.cat([weak, other])), labelled.classes)


class PseudoLabels:
    """Pseudo-labels of unlabelled images, from a network's aligned probabilities and a teacher's.

    The pseudo-label of an image is the class with the largest p^(1 - w) t^w, where p is the aligned
    probability by the network for a weak augmentation, t the teacher's, sharpened, and w `weight`. With few
    labels a network without teacher confirms its own errors; a graph of neighbours makes different ones.

    Parameters
    ----------
    teacher : Tensor of shape (n, n_classes)
        Class probabilities of all training images, on their device.
    weight : float
        Weight of the teacher, from 0 to 1.
    """

    def __init__(self, teacher: Tensor, weight: float) -> None:
        self.log_teacher, self.teacher_weight = sharpened(teacher).log(), weight
        self.align = Alignment(teacher.shape[1], teacher.device)
        self.confidence_weight = ConfidenceWeight(teacher.shape[1], teacher.device)

    @torch.no_grad()
    def __call__(self, logits: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return a class and a weight for each image, from logits (n, n_classes) and rows."""
        probabilities = self.align(logits.softmax(dim=1))
        own = (1 - self.teacher_weight) * (probabilities + 1e-6).log()
        teacher = self.teacher_weight * self.log_teacher[rows]
        confidences, classes = (own + teacher).softmax(dim=1).max(dim=1)
        return classes, self.confidence_weight(confidences)


class ConsistencyObjective:
    """FixMatch (Sohn et al. 2020) with a teacher, alignment, soft weights, and CutMix of the strong views.

    Parameters
    ----------
    pseudo_labels : PseudoLabels
        Pseudo-labels of the unlabelled images.
    mirror : bool
        Whether mirroring keeps the class.
    generator : torch.Generator
        Source of randomness, on the device of the images.
    """

    def __init__(self, pseudo_labels: PseudoLabels, mirror: bool, generator: torch.Generator) -> None:
        self.pseudo_labels, self.mirror, self.generator = pseudo_labels, mirror, generator

    def __call__(
        self, network: nn.Module, labelled: JointBatch, unlabelled: JointBatch, ramp: float | Tensor
    ) -> Tensor:
        """Return the loss of a step; see `training.joint.JointObjective`."""
        assert labelled.classes is not None
        with torch.no_grad():
            said = network(weak_view(unlabelled.images, self.mirror, self.generator))
        classes, weights = self.pseudo_labels(said, unlabelled.rows)
        weak = weak_view(labelled.images, self.mirror, self.generator)
        strong, own = cut_mix(strong_view(unlabelled.images, self.mirror, self.generator), self.generator)
        logits = network(torch.cat([weak, strong]))
        n = len(weak)
        supervised = F.cross_entropy(logits[:n], labelled.classes)
        # Each image counts by its share of the pixels.
        consistency = own * weights * F.cross_entropy(logits[n:], classes, reduction="none")
        other = F.cross_entropy(logits[n:], classes.roll(1), reduction="none")
        consistency = consistency + (1 - own) * weights.roll(1) * other
        return supervised + ramp * consistency.mean()


def sharpened(probabilities: Tensor) -> Tensor:
    """Add 0.1 % to probabilities, square them (a temperature of 1/2), and normalize rows to sum 1."""
    squares = (probabilities + 1e-3).square()
    return squares / squares.sum(dim=1, keepdim=True)
