"""Which model is suggested for the chosen scan, and the sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass

from MedLLMSegLib.registry.model_fit import Fit, ScanFacts, best_fit, fit_of

from .translation import _, isolated


@dataclass(frozen=True)
class Suggestion:
    """What is said about the models and the chosen scan.

    model: the id of the model that suits it; "" where there is none to suggest. sentence: why it
    suits, or why the chosen one does not.
    """

    model: str = ""
    sentence: str = ""


NO_SUGGESTION = Suggestion()


def suggestion_for(scan: ScanFacts | None, models: tuple, chosen: str) -> Suggestion:
    """The model for a scan. models: `ModelChoice`s. chosen: the id of the chosen one."""
    if scan is None:
        return NO_SUGGESTION
    entries = [choice.entry for choice in models]
    best = best_fit(scan, entries, chosen)
    if best is not None:
        return Suggestion(best.entry.id, _why(scan, best))
    entry = next((entry for entry in entries if entry.id == chosen), None)
    misfit = fit_of(scan, entry) if entry is not None else None
    if misfit is None or misfit.points is not None:
        return NO_SUGGESTION
    of_scan, of_model = misfit.other
    return Suggestion(
        "",
        _("{scan} seems to be {of_scan}, and this model was trained on {of_model}.").format(
            scan=isolated(scan.name), of_scan=of_scan, of_model=of_model
        ),
    )


def _why(scan: ScanFacts, fit: Fit) -> str:
    """One sentence on why a model suits a scan."""
    return _("{model} suits {scan}: {reasons}.").format(
        model=fit.entry.title, scan=isolated(scan.name), reasons=", ".join(_reasons(fit))
    )


def _reasons(fit: Fit) -> list[str]:
    modality, source = fit.modality
    sources = {
        "DICOM": _("{modality} by its DICOM tag"),
        "name": _("{modality} by its name"),
        "grey values": _("{modality} by its grey values"),
    }
    reasons = [sources[source].format(modality=modality)] if modality else []
    if fit.words:
        reasons.append(_("named {words}").format(words=_(" and ").join(fit.words)))
    if fit.is_series:
        reasons.append(_("a series over time"))
    if fit.slices_mm is not None:
        reasons.append(_("slices of {mm} mm").format(mm=f"{fit.slices_mm:.3g}"))
    elif fit.voxels_alike:
        reasons.append(_("voxels shaped as in the training"))
    if fit.size_alike:
        reasons.append(_("as large as it expects"))
    return reasons
