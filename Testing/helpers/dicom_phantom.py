"""A made-up head as DICOM, in every form that scanners give it: written with pydicom.

Twelve slices of 14 x 16 voxels of 1.1 x 1.0 x 1.5 mm, oblique, without symmetry. Each function
takes `edit(dataset, n)`, which changes a file before it is written.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

MR, CT, NM = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("4", "2", "20"))
ENHANCED_MR, LEGACY_MR = (f"1.2.840.10008.5.1.4.1.1.4.{end}" for end in ("1", "4"))
ENHANCED_CT, ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.130"
SC_WORDS, XA_3D = "1.2.840.10008.5.1.4.1.1.7.3", "1.2.840.10008.5.1.4.1.1.13.1.1"
US_VOLUME, SEG = "1.2.840.10008.5.1.4.1.1.6.2", "1.2.840.10008.5.1.4.1.1.66.4"
ROOT = "1.2.826.0.1.3680043.8.498."
STUDY, SERIES = ROOT + "2", ROOT + "3"

COUNT, ROWS, COLUMNS = 12, 16, 14
SPACING_MM = (1.0, 1.1)  # between rows, between columns
STEP_MM = 1.5
ORIGIN = np.array([-9.0, -21.0, 33.0])  # LPS mm


def _turned():
    """(2, 3): the directions along a row and down a column, oblique to all axes."""
    a, b = np.radians(20), np.radians(-13)
    row = np.array([np.cos(a), np.sin(a), 0.0])
    column = np.array([-np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), np.sin(b)])
    return np.array([row, column])


AXES = _turned()
NORMAL = np.cross(*AXES)


def phantom():
    """int16 [k, j, i], another value in each voxel's neighbourhood along every axis."""
    k, j, i = np.indices((COUNT, ROWS, COLUMNS))
    ball = 300 * ((i - 5) ** 2 + (j - 9) ** 2 + 2 * (k - 4) ** 2 < 25)
    return (ball + 5 * i + 17 * j + 40 * k + 100 * (i < 3)).astype(np.int16)


PHANTOM = phantom()


@dataclass(frozen=True)
class Plane:
    """Where slice n lies."""

    axes: np.ndarray
    normal: np.ndarray
    origin: np.ndarray

    def position(self, n, step_mm=STEP_MM):
        return self.origin + n * step_mm * self.normal


PLANE = Plane(AXES, NORMAL, ORIGIN)


def expected_matrix(step_mm=STEP_MM, first=0):
    """ijk_to_ras of the phantom, from first principles."""
    lps = np.eye(4)
    lps[:3, 0] = AXES[0] * SPACING_MM[1]
    lps[:3, 1] = AXES[1] * SPACING_MM[0]
    lps[:3, 2] = NORMAL * step_mm
    lps[:3, 3] = PLANE.position(first, STEP_MM)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def text(numbers):
    """Numbers as DICOM's decimal strings of at most 16 characters."""
    return [f"{float(number):.10f}"[:16] for number in np.ravel(numbers)]


def item(**elements):
    """A sequence of one item."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return Sequence([made])


def dataset(pixels, sop_class=MR, n=1, series=SERIES, **elements):
    """A file's data set without geometry. pixels: [rows, columns] or [frames, rows, columns]."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = f"{series}.{n}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = sop_class, f"{series}.{n}"
    made.StudyInstanceUID, made.SeriesInstanceUID = STUDY, series
    made.FrameOfReferenceUID = ROOT + "4"
    made.Modality, made.PatientName, made.PatientID = "MR", "Doe^Jane", "1"
    made.SeriesDescription, made.SeriesNumber, made.InstanceNumber = "T1", 1, n
    made.StudyDate, made.AcquisitionDate, made.ContentDate = 3 * ["20240102"]
    made.StudyTime, made.AcquisitionTime, made.ContentTime = 3 * ["101112"]
    made.ManufacturerModelName, made.Manufacturer = "Made", "Siemens"
    made.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    bits = 8 * pixels.dtype.itemsize
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.Rows, made.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        made.NumberOfFrames = len(pixels)
    made.PixelData = np.ascontiguousarray(pixels).tobytes()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def write(made, path):
    """Write a data set as a file of part 10, and return its path."""
    made.save_as(path, enforce_file_format=True)
    return path


def slice_dataset(n, pixels=None, **elements):
    """Slice n of the classic series."""
    made = dataset(PHANTOM[n] if pixels is None else pixels, n=n + 1)
    made.PixelSpacing, made.SliceThickness = text(SPACING_MM), str(STEP_MM)
    made.SpacingBetweenSlices = str(STEP_MM)
    made.ImagePositionPatient = text(PLANE.position(n))
    made.ImageOrientationPatient = text(AXES)
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def write_classic(folder: Path, edit=None, order=range(COUNT), pixels=PHANTOM, name="IM"):
    """A classic series; the files' names are in the order given."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, n in enumerate(order):
        made = slice_dataset(n, pixels[n])
        if edit is not None:
            edit(made, n)
        write(made, folder / f"{name}{number:03d}.dcm")
    return folder


def enhanced_dataset(order=range(COUNT), sop_class=ENHANCED_MR, edit=None, pixels=PHANTOM):
    """An enhanced multi-frame file. order: the slice of each frame. edit: of a frame's groups."""
    order = list(order)
    made = dataset(np.stack([pixels[n] for n in order]), sop_class)
    shared = Dataset()
    shared.PixelMeasuresSequence = item(
        PixelSpacing=text(SPACING_MM),
        SliceThickness=str(STEP_MM),
        SpacingBetweenSlices=str(STEP_MM),
    )
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=text(AXES))
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for number, n in enumerate(order):
        groups = Dataset()
        groups.PlanePositionSequence = item(ImagePositionPatient=text(PLANE.position(n)))
        groups.FrameContentSequence = item(
            StackID="1", InStackPositionNumber=n + 1, DimensionIndexValues=[1, n + 1]
        )
        if edit is not None:
            edit(groups, number)
        frames.append(groups)
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return made


def write_enhanced(folder: Path, order=range(COUNT), **options):
    folder.mkdir(parents=True, exist_ok=True)
    return write(enhanced_dataset(order, **options), folder / "enhanced.dcm")


def compress(made, syntax):
    """Compress a data set's pixels: RLE, JPEG-LS and JPEG 2000 by pydicom, JPEG by GDCM and
    Pillow.
    """
    from pydicom.uid import JPEGBaseline8Bit, JPEGLosslessSV1

    if syntax == JPEGLosslessSV1:
        return _by_gdcm(made)
    if syntax == JPEGBaseline8Bit:
        return _by_pillow(made)
    made.compress(syntax, generate_instance_uid=False)
    return made


def _by_pillow(made):
    import io

    from PIL import Image
    from pydicom.uid import JPEGBaseline8Bit

    parts = []
    for frame in made.pixel_array.reshape(-1, made.Rows, made.Columns):
        out = io.BytesIO()
        Image.fromarray(frame.astype(np.uint8)).save(out, "JPEG", quality=100)
        parts.append(out.getvalue())
    return _with_packed(made, parts, JPEGBaseline8Bit)


def _by_gdcm(made):
    """JPEG lossless, frame by frame: GDCM would rewrite the groups of a file of many frames."""
    from pydicom.uid import JPEGLosslessSV1

    frames = made.pixel_array.reshape(-1, made.Rows, made.Columns)
    return _with_packed(made, [_jpeg_lossless(frame) for frame in frames], JPEGLosslessSV1)


def _jpeg_lossless(pixels):
    import tempfile

    import gdcm
    from pydicom import dcmread
    from pydicom.encaps import get_frame

    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "a.dcm", Path(folder) / "b.dcm"
        write(dataset(pixels), plain)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return get_frame(dcmread(packed).PixelData, 0, number_of_frames=1)


def _with_packed(made, parts, syntax):
    from pydicom.encaps import encapsulate

    made.PixelData = encapsulate(parts)
    made["PixelData"].is_undefined_length = True
    made["PixelData"].VR = "OB"
    made.file_meta.TransferSyntaxUID = syntax
    return made
