"""The header of a DICOM image file, as GDCM reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedLLMSegLib.io.itk_images import itk_warnings_off

IMAGE_IO = "GDCMImageIO"


class DicomHeader:
    """Data elements as text and numbers. An element that is missing or no number is no error.

    A key is "gggg|eeee", the group and element number of a tag in hexadecimal.
    """

    def __init__(self, reader: sitk.ImageFileReader):
        self._reader = reader

    @property
    def size(self) -> tuple[int, ...]:
        """Numbers of columns and rows, and of slices or frames if there are several axes."""
        return tuple(int(n) for n in self._reader.GetSize())

    def text(self, key: str) -> str:
        """The value as text; "" if it is missing."""
        value = self._reader.GetMetaData(key) if self._reader.HasMetaDataKey(key) else ""
        text: str = value.encode("utf-8", "replace").decode()
        return text.strip("\0 \t\r\n")

    def numbers(self, key: str) -> list[float]:
        """All numbers of a value; none if it is missing or one of them is invalid."""
        try:
            return [float(part) for part in self.text(key).split("\\")]
        except ValueError:
            return []

    def number(self, key: str) -> float | None:
        """The first number of a value; None if it is missing or not finite."""
        numbers = self.numbers(key)
        return numbers[0] if numbers and np.isfinite(numbers[0]) else None


def read_header(path: Path) -> DicomHeader:
    """Read a file's header but not its pixels. Raises ITK's RuntimeError if it is damaged."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(IMAGE_IO)
    reader.SetFileName(str(path))
    with itk_warnings_off():
        reader.ReadImageInformation()
    return DicomHeader(reader)
