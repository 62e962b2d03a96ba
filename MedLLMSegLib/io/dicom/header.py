"""The tags of a DICOM file, read by pydicom so that no odd file can stop the program.

pydicom is imported when a DICOM file is read, and not before: the front door stays light.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.file_errors import unreadable
from MedLLMSegLib.io.itk_images import check_file_name

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LONGEST_TEXT = 64  # characters of a text element in a message
_STATED = ("SOPClassUID", "SeriesInstanceUID", "Rows", "Modality")  # one of these is in any file


class DicomHeader:
    """Data elements by DICOM's keywords, as text and numbers.

    An element that is missing, empty or of the wrong kind is no error: text is "", and there are
    no numbers.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def value(self, keyword: str) -> Any:
        """An element's value as pydicom gives it; None if it is missing or cannot be read."""
        with no_warnings():
            try:
                return self.dataset.get(keyword)
            except Exception:  # pydicom converts on first use, and raises many kinds of errors
                return None

    def texts(self, keyword: str) -> list[str]:
        """The values of an element as text, readable in any character set."""
        value = self.value(keyword)
        if value is None:
            return []
        many = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
        declared = self.value("SpecificCharacterSet") is not None
        return [_readable(str(part), declared) for part in (value if many else [value])]

    def text(self, keyword: str) -> str:
        """All values of an element as one text, with a backslash between them as in the file."""
        return "\\".join(self.texts(keyword))

    def numbers(self, keyword: str) -> list[float]:
        """All numbers of an element; none if it is missing or one of them is no number."""
        value = self.value(keyword)
        if value is None or isinstance(value, (str, bytes)):
            return []
        try:
            return [float(part) for part in (value if isinstance(value, Iterable) else [value])]
        except (TypeError, ValueError, OverflowError):
            return []

    def finite(self, keyword: str, count: int) -> list[float] | None:
        """An element of this many finite numbers; None for anything else."""
        numbers = self.numbers(keyword)
        return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None

    def number(self, keyword: str) -> float | None:
        """The first number of an element; None if it is missing or not finite."""
        numbers = self.numbers(keyword)
        return numbers[0] if numbers and math.isfinite(numbers[0]) else None

    def stored_value(self, keyword: str) -> int | None:
        """A grey value as it is stored, such as the padding value.

        Its sign is that of the pixels, whatever the element's own kind (US or SS) says.
        """
        element = self.value(keyword)
        if isinstance(element, bytes) and len(element) >= 2:
            value = int.from_bytes(element[:2], "little")
        elif isinstance(element, int):
            value = int(element)
        else:
            return None
        bits = int(self.number("BitsAllocated") or 16)
        if self.number("PixelRepresentation") == 1 and value >= 1 << (bits - 1):
            return value - (1 << bits)
        return value

    def items(self, keyword: str) -> list[DicomHeader]:
        """The items of a sequence; none if it is missing."""
        from pydicom.sequence import Sequence

        value = self.value(keyword)
        return [DicomHeader(item) for item in value] if isinstance(value, Sequence) else []

    def item(self, keyword: str) -> DicomHeader:
        """The first item of a sequence; one without elements if there is none."""
        from pydicom.dataset import Dataset

        items = self.items(keyword)
        return items[0] if items else DicomHeader(Dataset())

    @property
    def frames(self) -> int:
        """The number of images that the file states."""
        return max(1, int(self.number("NumberOfFrames") or 1))

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows; 0 where the file states none."""
        return int(self.number("Columns") or 0), int(self.number("Rows") or 0)

    @property
    def transfer_syntax(self) -> str:
        """The UID of the encoding; "" if the file states none."""
        meta = getattr(self.dataset, "file_meta", None)
        return "" if meta is None else DicomHeader(meta).text("TransferSyntaxUID")

    @property
    def sop_class(self) -> str:
        """The UID of what the file is, from its data or, where cut short, from its meta part."""
        meta = getattr(self.dataset, "file_meta", None)
        stated = "" if meta is None else DicomHeader(meta).text("MediaStorageSOPClassUID")
        return self.text("SOPClassUID") or stated


def _readable(text: str, declared: bool) -> str:
    """Text without control characters. declared: whether the file names its character set.

    Many files hold UTF-8 and do not say so; pydicom reads those as Latin-1.
    """
    if not declared and not text.isascii():
        with suppress(UnicodeError):
            text = text.encode("latin-1").decode("utf-8")
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.encode("utf-8", "replace").decode().split())[:_LONGEST_TEXT]


@contextmanager
def no_warnings() -> Iterator[None]:
    """pydicom warns of much that does not matter here, on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path, pixels: bool = False) -> DicomHeader:
    """Read a file's tags.

    pixels: also the elements of its pixels, undecoded. Raises `UserError` for a file that may not
    be read, or that holds no DICOM data.
    """
    from pydicom import dcmread

    check_file_name(path)
    try:
        with no_warnings():
            dataset = dcmread(path, stop_before_pixels=not pixels, force=True)
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # damaged files raise many kinds of errors
        raise damaged(path) from error
    header = DicomHeader(dataset)
    if not header.sop_class and all(header.value(keyword) is None for keyword in _STATED):
        raise damaged(path)
    return header


def damaged(path: Path) -> UserError:
    """The error for a file whose content cannot be read."""
    return UserError(
        f'"{path}" could not be read, it seems to be damaged or cut short; '
        "copy or export the series again."
    )


def read_start(path: Path) -> DicomHeader | None:
    """What can still be read of a damaged file's tags, up to its series; None for nothing."""
    from pydicom.filereader import read_partial

    def is_behind_series(tag: int, _vr: str | None, _length: int) -> bool:
        return tag > 0x0020000E

    try:
        with open(path, "rb") as file, no_warnings():
            return DicomHeader(read_partial(file, is_behind_series, force=True))
    except Exception:  # as above; there is no more to be learnt from the file
        return None
