"""Small DICOM files for tests, as pydicom's data sets."""

import io

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT, XRAY, ENHANCED_MR = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.4.1",
)


def image_dataset(pixels: np.ndarray, sop_class: str, number: int = 0) -> FileDataset:
    """A DICOM file of 16 bit pixels [rows, columns] or [frames, rows, columns]."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data_set.SOPClassUID, data_set.SOPInstanceUID = sop_class, f"1.2.3.{number + 1}"
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "1.2.3.4", "1.2.3.5"
    data_set.PatientName, data_set.SpecificCharacterSet = "Doe^Jane", "ISO_IR 192"
    data_set.SeriesDescription, data_set.InstanceNumber = "T1", number + 1
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.Rows, data_set.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        data_set.NumberOfFrames = len(pixels)
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, 12, 11
    data_set.PixelRepresentation = 0
    data_set.RescaleSlope, data_set.RescaleIntercept = "1.0", "-1024.0"
    data_set.WindowCenter, data_set.WindowWidth = ["40", "300"], ["400", "1500"]
    data_set.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()
    data_set["PixelData"].VR = "OW"
    return data_set


def file_bytes(data_set: FileDataset) -> bytes:
    out = io.BytesIO()
    pydicom.dcmwrite(out, data_set, enforce_file_format=False)
    return out.getvalue()
