"""Which model suits a scan, and why: by modality, contrast, part of the body, size and spacing.

No network is asked: a guess from what the scan and the models say of themselves, for the user to
follow or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json

from .catalogue import ModelEntry, read_metadata
from .scan_words import CONTRASTS, MODALITIES, REGIONS, stands_for, words_of

AIR_HU = -900.0  # grey values go as low as this in CT alone
ENOUGH = 3  # points that a model needs to be suggested
# How many times as anisotropic as those of the training a scan's voxels may be, or as little.
ALIKE, UNLIKE = 2.0, 4.0
HEAD_MM = (130.0, 280.0)  # a whole head's scan measures so much along every axis
CROP_MM = 80.0  # and a crop around one organ at most so much


@dataclass(frozen=True)
class ScanFacts:
    """What is known of a scan without reading its voxels.

    name: of the scan. descriptions: other texts about it, such as DICOM's descriptions and body
    part. modality: DICOM's, such as "MR"; "" if it is not known. spacing_mm, size_mm: along its
    three axes. lowest: its lowest grey value. is_series: it is an image of a series over time.
    """

    name: str
    descriptions: tuple[str, ...] = ()
    modality: str = ""
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lowest: float = 0.0
    is_series: bool = False

    @property
    def words(self) -> frozenset[str]:
        """Of its name and descriptions."""
        return words_of(self.name, *self.descriptions)

    @property
    def known_modality(self) -> tuple[str, str]:
        """(modality, what says so: "DICOM", "name" or "grey values"); empty if nothing does."""
        if self.modality:
            return self.modality, "DICOM"
        named = stands_for(self.words, MODALITIES)
        if len(named) == 1:
            return next(iter(named)), "name"
        return ("CT", "grey values") if self.lowest <= AIR_HU else ("", "")


@dataclass(frozen=True)
class Fit:
    """How well a model suits a scan.

    points: the more, the better; None for a model of another modality or part of the body.
    modality: the scan's, if the model is for it, with what says so. words: what both name, such as
    "T1" and "head". slices_mm: thick slices as in the training, else None. voxels_alike: the
    voxels are shaped as in the training. size_alike: the scan is as large as the model wants it.
    is_series: both are of a series over time. other: how scan and model contradict each other, as
    (scan's, model's), such as ("CT", "MR T1").
    """

    entry: ModelEntry
    points: int | None
    modality: tuple[str, str] = ("", "")
    words: tuple[str, ...] = ()
    slices_mm: float | None = None
    voxels_alike: bool = False
    size_alike: bool = False
    is_series: bool = False
    other: tuple[str, str] = ("", "")


def best_fit(scan: ScanFacts, entries: Sequence[ModelEntry], chosen: str = "") -> Fit | None:
    """The model that suits a scan best; None where too little is known to tell.

    chosen: the id of the model that is preferred where several suit as well; else the one with the
    most structures is.
    """
    fits = [fit for fit in (fit_of(scan, entry) for entry in entries) if fit.points is not None]
    if not fits:
        return None
    most = max(fit.points or 0 for fit in fits)
    best = [fit for fit in fits if fit.points == most]
    best.sort(key=lambda fit: len(fit.entry.structures), reverse=True)
    is_only_one = len(fits) == 1 and bool(fits[0].modality[0])
    if most < ENOUGH and not is_only_one:
        return None
    return next((fit for fit in best if fit.entry.id == chosen), best[0])


def fit_of(scan: ScanFacts, entry: ModelEntry) -> Fit:
    """How well one model suits a scan."""
    modality, source = scan.known_modality
    needed = _modality_of(entry)
    if modality and needed and modality != needed:
        return Fit(entry, None, other=(modality, entry.modality))
    metadata = _metadata(entry)
    model_words = words_of(entry.title, entry.modality, *entry.structures)
    regions = _shared(scan.words, model_words, REGIONS)
    takes_any = "any" in model_words  # contrast, resolution and size of a head
    known_contrasts = scan.words if takes_any else model_words
    contrasts = _shared(scan.words, known_contrasts, CONTRASTS)
    if regions is None or contrasts is None:
        table = REGIONS if regions is None else CONTRASTS
        pair = [", ".join(sorted(stands_for(w, table))) for w in (scan.words, model_words)]
        return Fit(entry, None, other=(pair[0], pair[1]))
    is_cine = "cine" in model_words
    same_modality = bool(modality) and modality == needed
    if takes_any:  # nothing speaks for it where the part of the body is not known
        may_be = bool(regions) or _is_head(scan)
        same_modality = same_modality and may_be
        contrasts = contrasts if may_be else frozenset()
        shape, slices_mm, size = int(may_be), None, int(_is_head(scan))
    else:
        shape, slices_mm = _shape_points(scan, metadata)
        size = _size_points(scan, metadata)
    points = same_modality + 2 * len(contrasts) + 3 * len(regions) + shape + size
    points += (2 if is_cine else -1) if scan.is_series else 0
    return Fit(
        entry,
        points,
        (modality, source) if same_modality else ("", ""),
        tuple(dict.fromkeys((*sorted(contrasts), *sorted(regions)))),
        slices_mm,
        shape > 0 and not takes_any,
        size > 0,
        scan.is_series and is_cine,
    )


def _modality_of(entry: ModelEntry) -> str:
    return next(iter(sorted(stands_for(words_of(entry.modality), MODALITIES))), "")


def _shared(
    scan_words: frozenset[str], model_words: frozenset[str], table: dict[str, set[str]]
) -> frozenset[str] | None:
    """What both name; None if each names something and none of it is the same."""
    of_scan, of_model = stands_for(scan_words, table), stands_for(model_words, table)
    if of_scan and of_model and not of_scan & of_model:
        return None
    return of_scan & of_model


def _shape_points(scan: ScanFacts, metadata: Json) -> tuple[int, float | None]:
    """(1, 0 or -1 for the shape of the voxels, thick slices as in the training or None)."""
    fingerprint = metadata.get("fingerprint")
    trained_mm = fingerprint.get("spacing_mm") if isinstance(fingerprint, dict) else None
    if not isinstance(trained_mm, list) or min(trained_mm) <= 0 or min(scan.spacing_mm) <= 0:
        return 0, None
    trained = max(trained_mm) / min(trained_mm)
    own = max(scan.spacing_mm) / min(scan.spacing_mm)
    ratio = max(trained / own, own / trained)
    if ratio <= ALIKE:
        return 1, max(scan.spacing_mm) if trained > UNLIKE else None
    return (-1 if ratio >= UNLIKE else 0), None


def _size_points(scan: ScanFacts, metadata: Json) -> int:
    """1 for a scan as large as the model wants it, -1 for one that is too small, else 0."""
    if not min(scan.size_mm):
        return 0
    if metadata.get("anatomy"):  # it takes a whole head, or a crop around the organ
        return 1 if _is_head(scan) or max(scan.size_mm) <= CROP_MM else 0
    fingerprint = metadata.get("fingerprint")
    trained_mm = fingerprint.get("size_mm") if isinstance(fingerprint, dict) else None
    if not isinstance(trained_mm, list):
        return 0
    pairs = zip(sorted(scan.size_mm), sorted(trained_mm), strict=False)
    return -1 if any(own < trained / 2 for own, trained in pairs) else 0


def _is_head(scan: ScanFacts) -> bool:
    """Whether it is as large as a whole head."""
    low, high = HEAD_MM
    return low <= min(scan.size_mm) and max(scan.size_mm) <= high


def _metadata(entry: ModelEntry) -> Json:
    try:
        return read_metadata(entry.folder)
    except UserError:  # `segment` will report what is wrong
        return {}
