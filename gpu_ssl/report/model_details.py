"""Collects the images on the page of a model: doubtful labels, and images unlike the rest."""

import numpy as np

from gpu_ssl.data.own import OwnImages
from gpu_ssl.data.problems import printable
from gpu_ssl.fitted.fitting import Fit
from gpu_ssl.report.data_address import address_of, image_of
from gpu_ssl.report.details import ModelDetails, StrangeImage, SuspectImage

SUSPECTS, STRANGE = 40, 20
"""Maximum number of labels that look wrong, and of images unlike the rest, on the page."""

LOOKED_AT = 1000
"""Number of random images among which the latter are searched."""


def details_of_model(fitted: Fit, images: OwnImages) -> ModelDetails:
    """Return some images that a model was fitted to; none for embeddings."""
    if images.are_embeddings or images.image_shape[1] == 1:
        return ModelDetails()
    by_name = {own.path: own for own in fitted.suspects[:SUSPECTS]}
    rows = [row for row, name in enumerate(images.names) if name in by_name] if by_name else []
    suspects = {images.names[row]: address_of(image_of(images.images[row])) for row in rows}
    strange = _strange(fitted, images)
    return ModelDetails(
        suspects=tuple(
            SuspectImage(
                name=printable(own.path),
                label=own.label,
                suggested=own.suggested,
                confidence=own.confidence,
                image=suspects[own.path],
            )
            for own in by_name.values()
        ),
        strange=strange,
        looked_at=min(LOOKED_AT, len(images)) if strange else 0,
    )


def _strange(fitted: Fit, images: OwnImages) -> tuple[StrangeImage, ...]:
    """Return the images with the largest OOD scores; none if the model needs another image size."""
    model = fitted.model
    if model.other_shapes:
        return ()
    rng = np.random.default_rng(fitted.record.config.seed)
    rows = np.sort(rng.permutation(len(images))[:LOOKED_AT])
    answers = model.predict(np.ascontiguousarray(images.images[rows]))
    order = np.argsort(-answers.ood_scores, kind="stable")[:STRANGE].tolist()
    return tuple(
        StrangeImage(
            name=printable(images.names[rows[i]]),
            score=round(float(answers.ood_scores[i]), 3),
            predicted=model.class_names[answers.classes[i]],
            image=address_of(image_of(images.images[rows[i]])),
        )
        for i in order
    )
