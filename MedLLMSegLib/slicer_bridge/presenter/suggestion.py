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
        model=fit.entry.title, scan=isolated(scan.name), reasons="; ".join(_reasons(scan, fit))
    )


def _reasons(scan: ScanFacts, fit: Fit) -> list[str]:
    modality, source = fit.modality
    reasons, words = [], list(fit.words)
    if source == "DICOM":
        reasons.append(_("its DICOM tag says {modality}").format(modality=modality))
    elif source == "name":
        words.insert(0, modality)
    elif source == "grey values":
        reasons.append(_("its grey values are those of {modality}").format(modality=modality))
    if words:
        text = (
            _("its name or description says {words}")
            if scan.descriptions
            else _("its name says {words}")
        )
        reasons.append(text.format(words=_listed(words)))
    if fit.is_series:
        reasons.append(_("it is a series over time"))
    if fit.slices_mm is not None:
        reasons.append(_("its slices are {mm} mm apart").format(mm=f"{fit.slices_mm:.3g}"))
    reasons.append(_likeness(fit))
    return list(filter(None, reasons))


def _listed(words: list[str]) -> str:
    """ "MR", "MR and head", "MR, T1 and head"."""
    if len(words) == 1:
        return words[0]
    return _("{first} and {last}").format(first=", ".join(words[:-1]), last=words[-1])


def _likeness(fit: Fit) -> str:
    """What of its size and voxels is as in the training; "" for nothing."""
    voxels = fit.voxels_alike and fit.slices_mm is None
    if voxels and fit.size_alike:
        return _("size and voxels are as in the training")
    if voxels:
        return _("voxels are as in the training")
    return _("size is as in the training") if fit.size_alike else ""
