"""Read, check and prepare what a user gives to a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel

from .prepared_input import ImageSources, MaskSource, PreparedInput
from .radiograph_input import prepare_radiographs
from .record_input import record_fields
from .sequence_input import prepare_sequence


def prepare_input(
    image: ImageSources,
    model: ClassifierModel,
    lungs: MaskSource | None = None,
    window: int | None = None,
    record: Mapping[str, object] | None = None,
    view: str = "",
) -> PreparedInput:
    """Read, check and prepare. The arguments are those of `diagnose`. Raises `UserError`."""
    if model.input.kind == "radiograph":
        prepared = prepare_radiographs(image, model, lungs, window, view)
    elif lungs is not None or window is not None:
        raise UserError(
            f'The model "{model.entry.id}" looks at volumes, for which there is no lung mask and no'
            " choice of a window; leave these out."
        )
    else:
        prepared = prepare_sequence(image, model)
    fields, notes = record_fields(record, model.config.record, model.entry.id)
    return replace(prepared, batch={**prepared.batch, **fields}, notes=(*prepared.notes, *notes))
