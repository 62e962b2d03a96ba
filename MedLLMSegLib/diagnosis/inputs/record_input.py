"""A patient's record as the numbers and categories that a classifier reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.classifier_config import RecordConfig


def record_fields(
    record: Mapping[str, object] | None, config: RecordConfig | None, model: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A record as the batch's "numbers" (1, N) and "categories" (1, M), and notes on fields that
    are not stated.

    model: its id, for messages. Raises `UserError` for a field or value that the model does not
    know.
    """
    values = {name: str(value).strip() for name, value in (record or {}).items()}
    if config is None:
        if values:
            raise UserError(
                f'The model "{model}" reads images alone, and a record was given'
                f" ({', '.join(values)}); leave it out."
            )
        return {}, ()
    known = [*config.numbers, *config.categories]
    _check_names(values, known, model)
    numbers = [_number(name, values.get(name, "")) for name in config.numbers]
    categories = [
        _category(name, values.get(name, ""), choices)
        for name, choices in config.categories.items()
    ]
    fields = {
        "numbers": torch.tensor([numbers], dtype=torch.float32).reshape(1, -1),
        "categories": torch.tensor([categories], dtype=torch.int64).reshape(1, -1),
    }
    missing = [name for name in known if not values.get(name)]
    if not missing:
        return fields, ()
    note = f"The record does not state {', '.join(missing)}, so the answer is less sure."
    return fields, (note,)


def _check_names(values: Mapping[str, str], known: Sequence[str], model: str) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(
            f'The record has the field "{unknown[0]}", and the model "{model}" knows'
            f" {', '.join(known)}; correct its name."
        )


def _number(name: str, text: str) -> float:
    """NaN for an empty text."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise UserError(
            f'The record\'s {name} is "{text}", and a number is needed; correct it, or leave it out'
            " if it is not known."
        )
    return value


def _category(name: str, text: str, choices: Sequence[str]) -> int:
    """The place of a value in its list; -1 for an empty text."""
    if not text:
        return -1
    if text not in choices:
        raise UserError(
            f'The record\'s {name} is "{text}", and one of {", ".join(choices)} is needed; correct'
            " it, or leave it out if it is not known."
        )
    return choices.index(text)
