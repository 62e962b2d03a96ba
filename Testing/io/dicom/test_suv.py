"""SUV by body weight from a made-up PET whose answer is known, step by step as QIBA's pseudo-code.

70 kg; 350 MBq at nine o'clock, of which half is left at ten (a half life of an hour): 175 MBq, so a
Bq/mL is a SUV of 70,000 / 175e6 = 4e-4.
"""

import re

import numpy as np
import pytest

from MedLLMSegLib.data.channel_images import join_channels
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.registry.input_channels import InputChannel
from Testing.helpers.dicom_datasets import CT, file_bytes, image_dataset
from Testing.helpers.dicom_pet import COUNTS, FACTOR, drug, write_pet


def quantity(tmp_path, change=None):
    return load_volume(write_pet(tmp_path / "pet", change)).quantity


def test_the_known_answer_in_each_slice(tmp_path):
    volume = load_volume(write_pet(tmp_path / "pet"))
    assert (volume.quantity.modality, volume.quantity.unit) == ("PT", "BQML")
    suv = join_channels([volume], (InputChannel.named("pet"),), "m")
    wanted = FACTOR * COUNTS * np.array([2.0, 3.0, 4.0])[:, None, None]
    np.testing.assert_allclose(suv.array, wanted, rtol=1e-6)
    assert suv.quantity.unit == "SUV"
    assert suv.notes == ('"pet" was brought to SUV by body weight: times 0.0004.',)


def before_midnight(data):
    data.SeriesDate = data.AcquisitionDate = "20240301"
    data.SeriesTime, data.AcquisitionTime = "003000", "003100"
    drug(data).RadiopharmaceuticalStartTime = "233000"


def slices_across_midnight(data):
    """The series begins at 23:50, and the injection was an hour before."""
    data.SeriesTime = "235000"
    late = int(data.InstanceNumber) > 1
    data.AcquisitionDate = "20240301" if late else "20240229"
    data.AcquisitionTime = "000500" if late else "235000"
    drug(data).RadiopharmaceuticalStartTime = "225000"


def slices_across_midnight_by_date(data):
    slices_across_midnight(data)
    drug(data).RadiopharmaceuticalStartDateTime = "20240229225000"


def made_late_from_a_morning_scan(data):
    """More than 12 hours lie between the scan and the series that was made from it."""
    late_series(data)
    data.SeriesTime = "233000"


def stated_date(data):
    """The date and time win where both are there."""
    drug(data).RadiopharmaceuticalStartDateTime = "20240229090000.000000+0100"
    drug(data).RadiopharmaceuticalStartTime = "011111"


def shifted_date(data):
    """A date that was changed to protect the patient: the time of day is left."""
    drug(data).RadiopharmaceuticalStartDateTime = "19010101090000"


def at_administration(data):
    data.DecayCorrection = "ADMIN"
    drug(data).RadionuclideTotalDose = "175000000"
    del drug(data).RadiopharmaceuticalStartTime


def late_series(data):
    """A series made after the scan: the earliest acquisition, a quarter past ten, counts."""
    data.SeriesTime = "170000"
    data.AcquisitionTime = f"10{15 + int(data.InstanceNumber) - 1}00"
    drug(data).RadiopharmaceuticalStartTime = "091500"


def of_ge(data):
    data.SeriesTime = "170000"
    block = data.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20240229100000.00")


def of_siemens(data):
    """Frame Reference Time counts from the wanted time to that of the frame's mean count rate."""
    data.SeriesTime = "170000"
    data.ActualFrameDuration = "360000"  # a tenth of a half life
    decay = np.log(2) / 10
    average_s = np.log(decay / (1 - np.exp(-decay))) * 3600 / np.log(2)
    data.AcquisitionTime = "100200"
    data.FrameReferenceTime = f"{1000 * (120 + average_s):.6f}"


def of_philips(data):
    data.Units = "CNTS"
    data.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0, "DS", "0.0004")


def of_philips_in_activity(data):
    data.Units = "CNTS"
    block = data.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(9, "DS", "10")
    drug(data).RadionuclideTotalDose = "3500000000"


@pytest.mark.parametrize(
    "change",
    (
        before_midnight,
        slices_across_midnight,
        slices_across_midnight_by_date,
        made_late_from_a_morning_scan,
        stated_date,
        shifted_date,
        at_administration,
        late_series,
        of_ge,
        of_siemens,
        of_philips,
        of_philips_in_activity,
    ),
)
def test_every_vendors_way_to_the_same_answer(tmp_path, change):
    assert quantity(tmp_path, change).suv_factor == pytest.approx(FACTOR, rel=1e-6)


def test_values_in_g_ml_are_suv(tmp_path):
    def in_suv(data):
        data.Units = "GML"
        del data.PatientWeight

    assert quantity(tmp_path, in_suv).unit == "SUV"


def after_the_scan(data):
    """The date is stated and near: another day is not tried."""
    drug(data).RadiopharmaceuticalStartDateTime = "20240229110000"
    drug(data).RadiopharmaceuticalStartTime = "110000"


def lean(data):
    data.Units, data.SUVType = "GML", "LBM"


def without_weight_and_dose(data):
    data.PatientWeight = None
    del drug(data).RadionuclideTotalDose


def in_mbq(data):
    drug(data).RadionuclideTotalDose = "350"


@pytest.mark.parametrize(
    "change, why",
    (
        (lambda d: d.pop("Units"), r"lacks Units \(0054,1001\)"),
        (lambda d: setattr(d, "Units", "CNTS"), "neither of Philips' factors"),
        (lambda d: setattr(d, "Units", "PROPCPS"), "unit PROPCPS is neither"),
        (lambda d: setattr(d, "DecayCorrection", "NONE"), "states NONE, and START or ADMIN"),
        (lambda d: setattr(d, "CorrectedImage", ["DECY"]), "not corrected for attenuation"),
        (lambda d: setattr(d, "CorrectedImage", ["ATTN"]), "not corrected for decay"),
        (
            without_weight_and_dose,
            r"lacks Patient's Weight \(0010,1030\), Radionuclide Total Dose \(0018,1074\)",
        ),
        (lambda d: drug(d).pop("RadionuclideHalfLife"), "lacks Radionuclide Half Life"),
        (lambda d: drug(d).pop("RadiopharmaceuticalStartTime"), "Radiopharmaceutical Start Time"),
        (lambda d: setattr(d, "PatientWeight", "0"), "lacks Patient's Weight"),
        (in_mbq, "350 Bq .* it may be in MBq"),
        (after_the_scan, r"is not within 24 hours before the scan \(2024-02-29 10:00:00\)"),
        (lean, "a SUV by LBM, not by body weight"),
    ),
)
def test_what_is_missing_is_named(tmp_path, change, why):
    found = quantity(tmp_path, change)
    assert found.suv_factor is None
    assert found.unit != "SUV"
    assert re.search(why, found.why_no_suv), found.why_no_suv


def test_a_ct_is_in_hounsfield_units(tmp_path):
    data = image_dataset(COUNTS[0], CT)
    data.Modality = "CT"
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [2, 2], "3"
    (tmp_path / "a.dcm").write_bytes(file_bytes(data))
    found = load_volume(tmp_path / "a.dcm").quantity
    assert (found.modality, found.unit) == ("CT", "HU")
