"""What was measured of a model, and how it enters the description of its bundle."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.metrics.heart_intervals import FIELD as HEART
from MedLLMSegLib.registry.cards import group_statistics
from MedLLMSegLib.registry.catalogue import measured_model
from MedLLMSegLib.registry.measured_model import LEFT_OUT, MeasuredModel
from MedLLMSegLib.registry.own_figures import OWNER, check_own_figures, is_of, without_names

from .ablation_card import names_groups

# What a summary says of the cases and structures that an ablation was measured on.
ABOUT_ABLATION = (
    "cases",
    "groups",
    "assumption",
    "precision",
    "structures_asked_for",
    OWNER,
)

LINES = "dice_lines"  # of the expected Dice, and "dice_lines_images"


@dataclass(frozen=True)
class Evidence:
    """Measured files that go into a bundle, each a path or None: what a file does not say is not
    claimed.

    results: the summary that `medllmseg evaluate` wrote for this very bundle's weights. folds: a
    summary of the same training repeated in cross-validation, whose weights are others.
    calibration: JSON with "temperature" (and more). ablation: a summary that `medllmseg evaluate
    --ablate` wrote for these weights, of which the ablation alone is taken (one in `results` is
    taken too). finding: what the benchmark found about the
    language-model block, in sentences.
    """

    results: Path | None = None
    folds: Path | None = None
    calibration: Path | None = None
    finding: str | None = None
    ablation: Path | None = None


def with_evidence(metadata: dict, evidence: Evidence) -> dict:
    """The metadata with what was measured, and nothing that was not.

    What was measured before a new calibration or cleaning, or other settings, is left out: it
    belongs to another model. Raises `UserError` for figures that are not this very model's.
    """
    metadata = _calibrated(metadata, evidence)
    model = measured_model(metadata)
    results = metadata.get("results") if is_of(metadata.get("results"), model) else None
    if evidence.results:
        results = _own_summary(Path(evidence.results), model)
    folds = _summary(Path(evidence.folds)) if evidence.folds else metadata.get("cross_validation")
    results, folds = (each and _nameless(each) for each in (results, folds))
    calibration = {
        name: value
        for name, value in (metadata.get("calibration") or {}).items()
        if f"calibration.{name}" not in LEFT_OUT
    }
    if results and results.get("calibration"):
        calibration |= {k: v for k, v in results["calibration"].items() if k != "temperature"}
    return {
        **metadata,
        "results": results,
        "cross_validation": folds,
        "calibration": calibration or None,
        "ablation": _ablation(metadata, evidence, model),
        "quality": metadata.get("quality") if is_of(metadata.get("quality"), model) else None,
        HEART: metadata.get(HEART) if is_of(metadata.get(HEART), model) else None,
        "finding": evidence.finding or metadata.get("finding"),
    }


def _calibrated(metadata: dict, evidence: Evidence) -> dict:
    """The metadata with a new temperature and cleaning, if there are any."""
    if not evidence.calibration:
        return metadata
    calibration = _calibration(Path(evidence.calibration), metadata["weights_sha256"])
    earlier = metadata.get("calibration") or {}
    # The expected Dice is a line over the confidence, which another temperature changes.
    if calibration.get("temperature") == earlier.get("temperature"):
        lines = {name: value for name, value in earlier.items() if name.startswith(LINES)}
        calibration = {**lines, **calibration}
    settings = dict(metadata["preprocessing"])
    if calibration.get("largest_part") and not metadata.get(
        "anatomy"
    ):  # a crop's organ is one part in any case
        settings["keep_largest"] = calibration["largest_part"]["kept"]
    return {**metadata, "preprocessing": settings, "calibration": calibration}


def _summary(path: Path) -> dict:
    """A summary of `medllmseg evaluate`."""
    summary = _read_json(path)
    if not isinstance(summary, dict) or not {"cases", "structures", "mean"} <= set(summary):
        raise UserError(
            f'"{path}" is not a summary that `medllmseg evaluate` wrote; give its .summary.json.'
        )
    return summary


def _own_summary(path: Path, model: MeasuredModel) -> dict:
    """A summary of this very model. Raises `UserError` as `check_own_figures` does."""
    summary = _summary(path)
    check_own_figures(summary, model, path)
    return summary


def _ablation(metadata: dict, evidence: Evidence, model: MeasuredModel) -> dict | None:
    """The ablation of a summary, with what it was measured on; else the one that is known of this
    very model.
    """
    path = evidence.ablation or evidence.results
    summary = _own_summary(Path(path), model) if path else {}
    if "ablation" not in summary:
        if evidence.ablation:
            raise UserError(
                f'"{path}" holds no ablation; give a summary of `medllmseg evaluate --ablate`.'
            )
        return metadata["ablation"] if is_of(metadata.get("ablation"), model) else None
    about = {k: summary[k] for k in ABOUT_ABLATION if k in summary}
    data = Path(str(summary.get("data", ""))).name
    return summary["ablation"] | about | {"data": data}


def _nameless(summary: dict) -> dict:
    """A summary without the names of cases and folders, which may be patients'; how many failed
    stays. The ablation has a place of its own in a bundle's description.
    """
    summary, failed = without_names(summary), summary.get("failed") or 0
    kept = {k: v for k, v in summary.items() if k not in ("group_of", "ablation")}
    return kept | {
        "data": Path(str(summary.get("data", ""))).name,
        "failed": failed if isinstance(failed, int) else len(failed),
    }


def _calibration(path: Path, weights_sha256: str) -> dict:
    found = _read_json(path)
    temperature = found.get("temperature") if isinstance(found, dict) else None
    if not isinstance(temperature, (int, float)) or not (
        math.isfinite(temperature) and temperature > 0
    ):
        raise UserError(
            f'"{path}" holds no "temperature" above 0; give the JSON file that the calibration'
            " wrote."
        )
    if found.get("weights_sha256", weights_sha256) != weights_sha256:  # a run's own file names none
        raise UserError(f'"{path}" was fitted for other weights; calibrate this very model.')
    return {k: v for k, v in found.items() if k not in ("weights_sha256", "data")}


def _read_json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f'"{path}" cannot be read as JSON; check the path.') from error


def accuracy_text(metadata: dict) -> str:
    """One figure in words, for the list of models: over heads or patients, as all figures of a
    model.
    """
    for name, where in (
        ("results", "on {} test"),
        ("cross_validation", "of the recipe, in cross-validation over {}"),
    ):
        summary = metadata.get(name)
        if (
            summary is not None
            and (mean := group_statistics(summary)["means"]["dice"]["mean"]) is not None
        ):
            groups = (
                f" of {summary['groups']} {metadata.get('group', 'patient')}s"
                if names_groups(summary)
                else ""
            )
            some = summary.get("structures_asked_for")
            of = f" of {len(summary['structures'])} structures" if some else ""
            return (
                f"mean Dice {mean:.3f}{of} {where.format(summary['cases'])}"
                f" {metadata.get('case', 'case')}s{groups}"
            )
    return "not measured"
