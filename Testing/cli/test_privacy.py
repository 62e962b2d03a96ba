"""Logs, records, tables and reports hold no patient's name, number or birth date."""

import numpy as np
import pytest

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.segmentation import pipeline
from MedLLMSegLib.segmentation.batch import segment_batch as batch
from Testing.helpers.loaded_stand_in import loaded_stand_in

pydicom = pytest.importorskip("pydicom")
NAME, NUMBER, BIRTH = "Zyzzyva^Quinta", "QX4711", "19010203"
SECRETS = ("Zyzzyva", "Quinta", NUMBER, BIRTH)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch, tmp_path):
    def segment(volume, model, **_):
        pipeline.check_scan(volume)
        labels = np.ones(volume.array.shape, np.uint8)
        structures = hippocampus_structures(lateral=False)
        return Segmentation(volume.with_array(labels), structures, {1: 0.9, 2: float("nan")})

    monkeypatch.setattr(batch, "segment", segment)
    monkeypatch.setattr(pipeline, "load_model", lambda *a: loaded_stand_in())
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))


def series(folder, edit=None):
    """Four slices of a named patient; edit(dataset, n) changes one before it is written."""
    from pydicom.dataset import Dataset, FileMetaDataset

    folder.mkdir()
    for n in range(4):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"1.2.3.{n + 1}"
        image.StudyInstanceUID, image.SeriesInstanceUID, image.Modality = "1.2.4", "1.2.5", "MR"
        image.PatientName, image.PatientID, image.PatientBirthDate = NAME, NUMBER, BIRTH
        image.Rows = image.Columns = 8
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation, image.InstanceNumber = 0, n + 1
        image.PixelSpacing, image.ImagePositionPatient = [1, 1], [0, 0, n]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelData = np.arange(64, dtype="<u2").tobytes()
        if edit:
            edit(image, n)
        image.save_as(folder / f"{n}.dcm", enforce_file_format=True)
    return folder


def no_rows(image, n):
    if n == 1:
        image.PixelData = image.PixelData[:50]


def two_patients(image, n):
    if n > 1:
        image.SeriesInstanceUID = "1.2.6"


@pytest.mark.parametrize("edit", (None, no_rows, two_patients))
def test_nothing_that_is_written_names_the_patient(tmp_path, capfd, edit):
    scan = series(tmp_path / "scan", edit)
    command = ["segment", str(scan), "--output", str(tmp_path / "out"), "--report"]
    if edit is None:
        pytest.importorskip("matplotlib")
        assert cli.main(command) == 0
        written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
        assert {"volumes.csv", "scan.medllmseg.json", "report.html"} <= {p.name for p in written}
    else:
        assert cli.main(command) == 2
        written = [tmp_path / "cache" / "medllmseg.log"]
    shown = "".join(capfd.readouterr())
    written += [p for p in (tmp_path / "cache").glob("*.log")]
    for secret in SECRETS:
        assert secret not in shown
        for path in written:
            assert secret.encode() not in path.read_bytes(), path
