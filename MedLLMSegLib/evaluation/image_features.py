"""The features of many X-rays by which a classifier tells another domain, as they are and as they
would be stored by other hands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.diagnosis.domain_features import middle_tokens
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.io.radiograph import load_radiograph

AT_ONCE = 16
# (number of the image, its grey values from 0 to 1) -> other grey values
Change = Callable[[int, Array], Array]


def check_flat_images(model: ClassifierModel) -> None:
    """Raise `UserError` for a classifier of anything but single flat images."""
    if model.input.kind != "radiograph" or model.input.channels or model.config.record:
        raise UserError(
            f'"{model.entry.id}" looks at more than one flat image at a time, and its domain can be'
            " told of single images only; choose such a model."
        )


def prepared_images(
    model: ClassifierModel, images: Sequence[Path], change: Change | None = None
) -> torch.Tensor:
    """(N, 1, size, size) float32 as the network sees them."""
    rows = []
    for number, path in enumerate(images):
        radiograph = load_radiograph(path, ct=model.input.ct)
        if change is not None:
            changed = np.asarray(change(number, radiograph.array), np.float32)
            radiograph = replace(radiograph, array=changed, spacing_known=False)
        rows.append(prepare_radiograph(radiograph, model.preparation)[0])
    return torch.from_numpy(np.stack(rows))


def image_features(
    model: ClassifierModel,
    images: Sequence[Path],
    change: Change | None = None,
    progress: Report | None = None,
) -> NDArray[np.float32]:
    """(N, F) of the encoder, as `encoder_tap` catches them in a diagnosis.

    change: made to each image before it is prepared. Raises `UserError` for an image that cannot be
    read; progress may raise `Cancelled`.
    """
    check_flat_images(model)
    report, rows = Progress.of(progress), []
    for start in range(0, len(images), AT_ONCE):
        report("features", start / len(images))
        chosen = images[start : start + AT_ONCE]

        def shifted(number: int, grey: Array, first: int = start) -> Array:
            return grey if change is None else change(first + number, grey)

        batch = {"image": prepared_images(model, chosen, shifted).to(model.device)}
        with torch.inference_mode():
            tokens = model.network.encode(batch)
        rows.append(middle_tokens(tokens, model.network.encoder.widths).cpu().numpy())
    return np.concatenate(rows)
