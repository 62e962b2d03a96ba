"""The arms of a study of image and record: both, each alone, and a logistic regression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from MedLLMSegLib.core.types import Array
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, EncoderConfig, RecordConfig
from MedLLMSegLib.training.classifier.examples import Examples

from .baselines import best_logistic
from .study_runs import Arm

MAIN = "fusion"


def fusion_arms(
    classes: tuple[str, ...], encoder: EncoderConfig, record: RecordConfig, hidden: int = 128
) -> dict[str, Arm]:
    """Name -> arm, `MAIN` first; all networks are alike but for what they see."""
    config = ClassifierConfig("fusion", classes, encoder, record=record, hidden=hidden)
    return {
        MAIN: Arm("image and record, late fusion", config),
        "image": Arm(
            "the image alone, same network without a record", replace(config, record=None)
        ),
        "record": Arm(
            "the record alone, same network without an image", config, view=without_image
        ),
        "record-logistic": Arm("the record alone, logistic regression", baseline=_record_logistic),
    }


def with_record(examples: Examples, fields: dict[str, torch.Tensor]) -> Examples:
    """The same cases with their records' fields."""
    return replace(examples, fields={**examples.fields, **fields})


def without_image(examples: Examples) -> Examples:
    """The same cases, the image of each missing."""
    return replace(
        examples,
        fields={**examples.fields, "image": torch.full_like(examples.fields["image"], torch.nan)},
    )


def without_record(examples: Examples) -> Examples:
    """The same cases, every field of each missing."""
    return replace(
        examples,
        fields={
            **examples.fields,
            "numbers": torch.full_like(examples.fields["numbers"], torch.nan),
            "categories": torch.full_like(examples.fields["categories"], -1),
        },
    )


def _record_logistic(
    train: Examples, val: Examples, test: Examples, seed: int
) -> tuple[Array, Array]:
    features = [_record_table(examples) for examples in (train, val, test)]
    return best_logistic(
        features[0], train.target.numpy(), features[1], val.target.numpy(), features[2]
    )


def _record_table(examples: Examples) -> Array:
    """(n, fields) numbers and categories."""
    fields = [examples.fields["numbers"].numpy(), examples.fields["categories"].numpy()]
    return np.concatenate(fields, axis=1)
