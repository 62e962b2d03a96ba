"""The table of a batch: one row a scan, with shares only where a model outlines the whole brain."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.segmentation.batch.scan_quality import quality_entry, structure_quality
from MedLLMSegLib.segmentation.batch.volumes_table import (
    ScanResult,
    intracranial_entry,
    structure_shares,
    volumes_csv,
)
from MedLLMSegLib.segmentation.time_series import SeriesSegmentation


def record_of(segmentation: Segmentation, model: str) -> dict:
    volumes_ml, shares = segmentation.volumes_ml, structure_shares(segmentation)
    structures = [
        {
            "key": s.key,
            "volume_ml": volumes_ml[s.key],
            **shares.get(s.key, {}),
            **structure_quality(segmentation, s.label),
        }
        for s in segmentation.structures
    ]
    about = intracranial_entry(segmentation) | quality_entry(segmentation)
    return {"model": model, "structures": structures, **about}


@pytest.fixture
def brain() -> Segmentation:
    array = np.zeros((2, 10, 10), np.uint8)
    array[0, :3], array[0, 3:4], array[1] = 17, 53, 16
    labels = Volume(array, np.diag([10.0, 10.0, 10.0, 1.0]))  # 1 mL a voxel
    return Segmentation(labels, brain_structures(), intracranial=IntracranialVolume(400.0))


def rows_of(*results):
    return list(csv.DictReader(io.StringIO(volumes_csv(results))))


def test_a_brain_adds_percents_and_asymmetries_behind_the_volumes(brain):
    (row,) = rows_of(ScanResult(Path("a.nii"), "done", record_of(brain, "brain-mr")))
    columns = list(row)
    assert columns[:4] == ["scan", "status", "model", "left_cerebral_white_matter_ml"]
    assert columns[-1] == "message"
    assert float(row["left_hippocampus_ml"]) == pytest.approx(30)
    assert float(row["intracranial_ml"]) == 400
    assert float(row["left_hippocampus_percent"]) == 7.5
    assert float(row["hippocampus_asymmetry_percent"]) == 100.0
    assert row["amygdala_asymmetry_percent"] == ""
    assert "brain_stem_asymmetry_percent" not in row


def test_scans_of_other_models_leave_those_cells_empty_and_have_no_such_columns_alone(brain):
    heart = ScanResult(
        Path("b.nii"), "done", {"model": "x", "structures": [{"key": "lv", "volume_ml": 9.5}]}
    )
    (alone,) = rows_of(heart)
    assert list(alone) == ["scan", "status", "model", "lv_ml", "message"]
    both = rows_of(heart, ScanResult(Path("a.nii"), "done", record_of(brain, "brain-mr")))
    assert (both[0]["lv_ml"], both[0]["intracranial_ml"]) == ("9.5", "")
    assert both[1]["lv_ml"] == ""


def test_the_expected_dice_of_each_structure_stands_behind_the_shares(brain):
    record = record_of(brain, "brain-mr")
    for structure in record["structures"]:
        if structure["key"] == "left_hippocampus":
            structure["expected_dice"] = 0.83
    older = ScanResult(Path("b.nii"), "skipped", record_of(brain, "brain-mr"))
    first, second = rows_of(ScanResult(Path("a.nii"), "done", record), older)
    assert list(first)[-2:] == ["left_hippocampus_expected_dice", "message"]
    assert first["left_hippocampus_expected_dice"] == "0.83"
    assert second["left_hippocampus_expected_dice"] == ""


def test_lights_and_intervals_stand_in_the_table_of_a_batch(brain):
    odd = Quality("amber", ("the expected Dice is 0.71",))
    quality = ScanQuality(odd, {17: odd, 53: Quality()}, {17: (1.5, 2.25)})
    record = record_of(replace(brain, quality=quality), "brain-mr")
    older = ScanResult(Path("b.nii"), "skipped", record_of(brain, "brain-mr"))
    first, second = rows_of(ScanResult(Path("a.nii"), "done", record), older)
    assert (first["light"], first["light_reasons"]) == ("amber", "the expected Dice is 0.71")
    assert (first["left_hippocampus_light"], first["right_hippocampus_light"]) == ("amber", "green")
    assert (first["left_hippocampus_low_ml"], first["left_hippocampus_high_ml"]) == ("1.5", "2.25")
    assert second["light"] == second["left_hippocampus_low_ml"] == ""


def test_the_light_of_a_series_is_that_of_its_worst_image(brain):
    bad = Quality("red", ("it was not found",))
    images = [replace(brain, quality=ScanQuality(light)) for light in (Quality(), bad, Quality())]
    entry = quality_entry(SeriesSegmentation(tuple(images)))["quality"]
    assert entry["light"] == "red"
    assert entry["reasons"] == ["1 of 3 images are red", "image 2: it was not found"]
    assert quality_entry(SeriesSegmentation((brain,))) == {}


def test_without_a_skull_the_intracranial_volume_is_not_available(brain):
    off = replace(brain, intracranial=IntracranialVolume(None, "the skull is off"))
    (row,) = rows_of(ScanResult(Path("a.nii"), "done", record_of(off, "brain-mr")))
    assert row["intracranial_ml"] == "not available"
    assert row["left_hippocampus_percent"] == ""
    assert float(row["left_hippocampus_ml"]) == pytest.approx(30)
