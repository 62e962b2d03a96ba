"""What the numbers of a DICOM image measure; of a PET, by what they become SUV by body weight.

The steps are those of QIBA's vendor-neutral pseudo-code (RSNA QIBA, FDG-PET/CT Profile; "SUV
Vendor Neutral Pseudocode" at qibawiki.rsna.org, Standardized Uptake Value), with DICOM PS3.3
C.8.9.1 for the tags. Three things differ: values that are decay-corrected to the administration
("ADMIN", which the pseudo-code leaves out) need no further decay; values in g/mL are SUV already,
whatever was corrected; and a dose or a time that cannot be is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Quantity

from .header import DicomHeader, no_warnings

LEAST_DOSE_BQ = 1e5  # a tenth of a MBq; a smaller number is a dose in MBq
MOST_HOURS = 24.0  # from the injection to the scan
SHIFTED_DAYS = 2  # from an injection's date to the scan's, beyond which the date was changed
PHILIPS = (0x7053, "Philips PET Private Group")
PHILIPS_SUV, PHILIPS_BQ_ML = 0x00, 0x09  # per count
GE = (0x0009, "GEMS_PETD_01")
GE_SCAN_TIME = 0x0D
_TIME = re.compile(r"(\d{2}):?(\d{2}):?(\d{2})?(?:\.(\d{1,6}))?")
_TAGS = {  # for people who look for what is missing
    "PatientWeight": "Patient's Weight (0010,1030)",
    "RadionuclideTotalDose": "Radionuclide Total Dose (0018,1074)",
    "RadionuclideHalfLife": "Radionuclide Half Life (0018,1075)",
    "RadiopharmaceuticalStartTime": "Radiopharmaceutical Start Time (0018,1072)",
    "SeriesTime": "Series Date and Time (0008,0021 and 0008,0031)",
    "Units": "Units (0054,1001)",
}


def quantity_of(header: DicomHeader, acquisition_times: Iterable[str] = ()) -> Quantity:
    """What the numbers of an image measure, after the rescale slope and intercept.

    header: of one of its files. acquisition_times: DICOM's time of each slice, "" where it states
    none.
    """
    modality = header.text("Modality")
    if modality == "CT":
        return Quantity("CT", "HU" if header.text("RescaleType") in ("", "HU") else "")
    if modality != "PT":
        return Quantity(modality)
    unit = header.text("Units")
    if unit == "GML":
        kind = header.text("SUVType")
        if kind in ("", "BW"):
            return Quantity("PT", "SUV")
        return Quantity("PT", unit, None, f"it is a SUV by {kind}, not by body weight (BW)")
    try:
        factor = _suv_factor(header, unit, list(acquisition_times))
    except UserError as why:
        return Quantity("PT", unit or "unknown", None, str(why))
    return Quantity("PT", unit, factor)


def _suv_factor(header: DicomHeader, unit: str, acquisition_times: list[str]) -> float:
    """What values in Bq/mL or counts are multiplied by. Raises `UserError` that says why not."""
    if not unit:
        raise UserError(f"the file lacks {_TAGS['Units']}")
    if unit not in ("BQML", "CNTS"):
        raise UserError(f"the unit {unit} is neither Bq/mL, counts nor g/mL")
    _check_corrected(header)
    to_bq_ml = 1.0
    if unit == "CNTS":
        of_philips = _private_number(header, PHILIPS, PHILIPS_SUV)
        if of_philips:
            return of_philips
        to_bq_ml = _private_number(header, PHILIPS, PHILIPS_BQ_ML) or 0.0
        if not to_bq_ml:
            raise UserError(
                "the values are counts, and the file has neither of Philips' factors (7053,1000 and"
                " 7053,1009)"
            )
    return to_bq_ml * _factor_of_activity(header, acquisition_times)


def _check_corrected(header: DicomHeader) -> None:
    corrections = set(header.texts("CorrectedImage"))
    for names, what in ((("ATTN",), "attenuation"), (("DECY", "DECAY"), "decay")):
        if not corrections & set(names):
            raise UserError(f"the values are not corrected for {what} (Corrected Image, 0028,0051)")
    if header.text("DecayCorrection") not in ("START", "ADMIN"):
        stated = header.text("DecayCorrection") or "nothing"
        raise UserError(
            f"Decay Correction (0054,1102) states {stated}, and START or ADMIN is needed"
        )


@dataclass(frozen=True)
class _Injection:
    """dose_bq: at the injection. half_life_s: of the radionuclide. weight_kg: of the patient."""

    dose_bq: float
    half_life_s: float
    weight_kg: float


def _factor_of_activity(header: DicomHeader, acquisition_times: list[str]) -> float:
    """SUV by body weight of one Bq/mL (in g/mL, water's density)."""
    injection = _injection(header)
    decay_s = 0.0
    if header.text("DecayCorrection") == "START":
        scan = _scan_time(header, acquisition_times, injection.half_life_s)
        decay_s = _seconds_since_injection(header, scan)
    dose_bq = injection.dose_bq * math.exp2(-decay_s / injection.half_life_s)
    return 1000.0 * injection.weight_kg / dose_bq


def _injection(header: DicomHeader) -> _Injection:
    """Raises `UserError` that names each tag that is missing, empty or zero."""
    drug = header.item("RadiopharmaceuticalInformationSequence")
    values = {
        "PatientWeight": header.number("PatientWeight"),
        "RadionuclideTotalDose": drug.number("RadionuclideTotalDose"),
        "RadionuclideHalfLife": drug.number("RadionuclideHalfLife"),
    }
    missing = [_TAGS[name] for name, value in values.items() if not value or value < 0]
    if header.text("DecayCorrection") == "START":
        times = ("RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime")
        if not any(drug.text(name) for name in times):
            missing.append(_TAGS["RadiopharmaceuticalStartTime"])
    if missing:
        raise UserError(f"the file lacks {', '.join(missing)}")
    weight, dose, half_life = (float(value or 0) for value in values.values())
    if dose < LEAST_DOSE_BQ:
        raise UserError(
            f"the dose is {dose:g} Bq ({_TAGS['RadionuclideTotalDose']}), which is too little; it"
            " may be in MBq"
        )
    return _Injection(dose, half_life, weight)


def _scan_time(header: DicomHeader, acquisition_times: list[str], half_life_s: float) -> datetime:
    """The time to which the values are decay-corrected. Raises `UserError` where none is stated."""
    series = _moment(header.text("SeriesDate"), header.text("SeriesTime"))
    date = header.text("AcquisitionDate") or header.text("SeriesDate")
    own = _moment(date, header.text("AcquisitionTime"))
    moments = [_moment(date, time) for time in acquisition_times]
    known = [moment for moment in (own, *moments) if moment is not None]
    known = [_nearest_day(moment, known[0]) for moment in known]
    earliest = min(known, default=None)
    if series is not None and (earliest is None or series <= earliest):
        return series
    # A series that was made after the acquisition: its own time says nothing of the decay.
    of_ge = _private_text(header, GE, GE_SCAN_TIME)
    stated = _moment(of_ge[:8], of_ge[8:])
    if stated is not None:
        return stated
    reference_ms = header.number("FrameReferenceTime") or 0.0
    duration_ms = header.number("ActualFrameDuration") or 0.0
    if own is not None and reference_ms > 0 and duration_ms > 0:
        average_s = _average_count_s(duration_ms / 1000, half_life_s)
        return own + timedelta(seconds=average_s - reference_ms / 1000)
    if earliest is not None:
        return earliest
    raise UserError(f"the file lacks {_TAGS['SeriesTime']}")


def _nearest_day(moment: datetime, other: datetime) -> datetime:
    """A time of day on the day that brings it nearest to another moment.

    A scan may cross midnight, and only the date of one of its slices is known here.
    """
    days = (moment + timedelta(days=n) for n in (-1, 0, 1))
    return min(days, key=lambda day: abs(day - other))


def _average_count_s(duration_s: float, half_life_s: float) -> float:
    """When, from a frame's start, its count rate is that of its mean."""
    decay_constant = math.log(2) / half_life_s
    decay = decay_constant * duration_s
    return math.log(decay / -math.expm1(-decay)) / decay_constant


def _seconds_since_injection(header: DicomHeader, scan: datetime) -> float:
    """From the injection to the scan. Raises `UserError` where that cannot be."""
    drug = header.item("RadiopharmaceuticalInformationSequence")
    text = drug.text("RadiopharmaceuticalStartDateTime")
    stated = _moment(text[:8], text[8:])
    candidates = [stated]
    # A date far from the scan was changed to protect the patient, and only the time of day is left.
    if stated is None or abs(scan - stated) > timedelta(days=SHIFTED_DAYS):
        # on the day of the scan, or across midnight on the day before
        today = _moment(scan.strftime("%Y%m%d"), drug.text("RadiopharmaceuticalStartTime"))
        candidates += [today, today and today - timedelta(days=1)]
    for injected in candidates:
        if injected is not None:
            seconds = (scan - injected).total_seconds()
            if 0 <= seconds <= 3600 * MOST_HOURS:
                return seconds
    raise UserError(
        f"the injection ({_TAGS['RadiopharmaceuticalStartTime']}) is not within {MOST_HOURS:g}"
        f" hours before the scan ({scan:%Y-%m-%d %H:%M:%S})"
    )


def _moment(date: str, time: str) -> datetime | None:
    """DICOM's date and time of day; None where one is missing or none. A zone is left out."""
    found = _TIME.match(time.strip())
    digits = date.strip().replace(".", "").replace("-", "")
    if found is None or not re.fullmatch(r"\d{8}", digits):
        return None
    hours, minutes, seconds, fraction = found.groups()
    try:
        day = datetime.strptime(digits, "%Y%m%d")
    except ValueError:
        return None
    return day + timedelta(
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "0").ljust(6, "0")),
    )


def _private_text(header: DicomHeader, block: tuple[int, str], element: int) -> str:
    """A private element as text; "" where it is missing or cannot be read."""
    group, creator = block
    with no_warnings():
        try:
            value = header.dataset.private_block(group, creator)[element].value
        except Exception:  # KeyError where it is missing; pydicom converts on first use
            return ""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.strip(" \0")


def _private_number(header: DicomHeader, block: tuple[int, str], element: int) -> float | None:
    """A private element as a number above 0; None for anything else."""
    try:
        number = float(_private_text(header, block, element))
    except ValueError:
        return None
    return number if 0 < number < math.inf else None
