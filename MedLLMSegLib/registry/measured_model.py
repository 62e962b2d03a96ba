"""The measured model: everything that decides what a model answers, under one sha256 (no torch).

What is measured (figures of a card, a decision on precision) or made (a scan of a batch) with a
model carries this hash. With other weights, settings, calibration, cleaning, language-model layer,
localizer, or another list of the cases it has seen, it is another model, and none of that belongs
to it.

Hashed is a bundle's metadata as canonical JSON, all of it but `LEFT_OUT`: a field that is new
counts until somebody says why it should not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from MedLLMSegLib.core.types import Json

from .seen_cases import SeenCases

# Raise it when the library makes other results of the same bundle: what is older is then done anew.
RESULTS_VERSION = 1

_FOR_PEOPLE = "a text for people or for lists of models; no answer depends on it"
_FOR_MONAI = "written for MONAI's runner from fields that count, or from installed packages"
_MEASURED = "measured of the model: bound to the hash, so it cannot be under it"
_HISTORY = "how the weights came about; the weights themselves count"
# Field of the metadata, nested ones with dots -> why it is not under the hash.
LEFT_OUT = {
    "id": "a name that an import may change",
    "title": _FOR_PEOPLE,
    "version": _FOR_PEOPLE,
    "changelog": _FOR_PEOPLE,
    "authors": _FOR_PEOPLE,
    "copyright": _FOR_PEOPLE,
    "licence": _FOR_PEOPLE,
    "licence_note": _FOR_PEOPLE,
    "accept_licence": _FOR_PEOPLE,
    "llm_licence": _FOR_PEOPLE,
    "data": _FOR_PEOPLE,
    "data_note": _FOR_PEOPLE,
    "intended_use": _FOR_PEOPLE,
    "limits": _FOR_PEOPLE,
    "references": _FOR_PEOPLE,
    "group": _FOR_PEOPLE,
    "case": _FOR_PEOPLE,
    "finding": _FOR_PEOPLE,
    "folds_note": _FOR_PEOPLE,
    "folds_command": _FOR_PEOPLE,
    "schema": _FOR_MONAI,
    "monai_version": _FOR_MONAI,
    "pytorch_version": _FOR_MONAI,
    "numpy_version": _FOR_MONAI,
    "required_packages_version": _FOR_MONAI,
    "task": _FOR_MONAI,
    "description": _FOR_MONAI,
    "data_source": _FOR_MONAI,
    "data_type": _FOR_MONAI,
    "image_classes": _FOR_MONAI,
    "label_classes": _FOR_MONAI,
    "pred_classes": _FOR_MONAI,
    "network_data_format": _FOR_MONAI,
    "results": _MEASURED,
    "accuracy": _MEASURED,
    "eval_metrics": _MEASURED,
    "ablation": _MEASURED,
    "quality": "fitted to what this very model answers, and dropped without it: bound to the hash",
    "heart_intervals": _MEASURED,
    "domain": "measured of the model's own images, and bound to the hash; it warns, and no answer"
    " depends on it",
    "trained_range": "the spacings that the training showed: the user is told of others, and no"
    " answer depends on it",
    "cross_validation": "measured of other weights of the same recipe",
    "calibration.ece": _MEASURED,
    "calibration.bins": _MEASURED,
    "calibration.where": _MEASURED,
    "calibration.risk_coverage": _MEASURED,
    "calibration.risk_coverage_random": _MEASURED,
    "training": _HISTORY,
    "chosen": _HISTORY,
    "fine_tuned_from": _HISTORY,
    "label_maps": _HISTORY,
    "plan.reasons": _HISTORY,
    "fingerprint": "statistics of the training scans, from which models are suggested for a scan",
    "parameters": "counted from the weights",
    "localizer": "a name; in its place stands the localizer's own hash",
}


@dataclass(frozen=True)
class MeasuredModel:
    """What a bundle answers with, under one hash; made when the bundle is read, by
    `catalogue.measured_model`.

    sha256: the hash, 64 hex digits. canonical: the text that was hashed (JSON). weights_sha256: of
    the weights file. llm_sha256: of the frozen language-model layers; None without them.
    localizer: of a cascade. seen: the cases that the weights were trained on or chosen by.
    """

    sha256: str
    canonical: str
    weights_sha256: str
    llm_sha256: str | None
    localizer: MeasuredModel | None
    seen: SeenCases

    @property
    def seen_by_any(self) -> SeenCases:
        """What this model or its localizer has seen."""
        if self.localizer is None:
            return self.seen
        other = self.localizer.seen_by_any
        return SeenCases(
            self.seen.train,
            self.seen.val,
            self.seen.before | other.all,
            known=self.seen.known and other.known,
        )

    @classmethod
    def of(cls, metadata: Json, localizer: MeasuredModel | None = None) -> MeasuredModel:
        """The measured model of a bundle's metadata, read from a file or about to be written.

        localizer: of a cascade. The weights are under the hash by "weights_sha256", which
        `read_bundle` checks. Raises `UserError` for a damaged list of seen cases.
        """
        stored = _as_in_a_file(metadata)
        counted = {
            "results_version": RESULTS_VERSION,
            "metadata": _without(stored, ""),
            "localizer_sha256": localizer.sha256 if localizer else None,
        }
        canonical = json.dumps(counted, sort_keys=True, separators=(",", ":"))
        return cls(
            sha256=hashlib.sha256(canonical.encode("utf-8")).hexdigest(),
            canonical=canonical,
            weights_sha256=str(stored["weights_sha256"]),
            llm_sha256=stored.get("llm_sha256"),
            localizer=localizer,
            seen=SeenCases.of_bundle(stored),
        )


def _as_in_a_file(metadata: Json) -> Json:
    """The metadata as they are read back: tuples are lists, and numbers as keys are texts."""
    stored: Json = json.loads(json.dumps(metadata))
    return stored


def _without(value: Any, path: str) -> Any:
    """A value of the metadata without the fields in `LEFT_OUT`. path: its place, with dots.

    A field that is null, or of which nothing is left, is as one that is not there.
    """
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, inner in value.items():
        place = f"{path}.{name}" if path else name
        if place in LEFT_OUT:
            continue
        counted = _without(inner, place)
        if counted is not None and (counted != {} or inner == {}):
            kept[name] = counted
    return kept
