"""Which volume of DICOM files is meant: the only one, or the one that the user names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError

from .frames import Frame
from .header import DicomHeader

_MOST_LISTED = 12  # volumes in a message
_HOW = "choose one by its number with --series"


@dataclass(frozen=True, eq=False)
class DicomVolume:
    """The frames of a volume before it is placed and read.

    series: what its files have in common, the series' UID and, of a multi-frame file, the file.
    description: of its series. label: what tells it from other volumes of that series, or "".
    header: of its first file.
    """

    frames: list[Frame]
    series: tuple[str, str]
    description: str
    label: str
    header: DicomHeader

    @property
    def uid(self) -> str:
        """The UID of its series."""
        return self.series[0]

    @property
    def plane(self) -> tuple[tuple[int, int], str]:
        """Size and direction of its slices."""
        axes = self.frames[0].axes
        return self.frames[0].size, "" if axes is None else str(axes.round(3).tolist())

    def __str__(self) -> str:
        kind = "slices" if len(self.frames) > 1 else "slice"
        about = f", {self.label}" if self.label else ""
        return f'"{self.description}" ({len(self.frames)} {kind}{about})'


def choose_volume(volumes: list[DicomVolume], path: Path, series: str | None) -> DicomVolume:
    """The volume that is meant: the one asked for, the only one, or the only series in 3D.

    series: a series' UID, or a number in the list of volumes. path: for messages. Raises
    `UserError`, which lists what is there.
    """
    if not volumes:
        raise UserError(
            f'"{path}" has none of the frames that were asked for; choose others with --frames.'
        )
    if series is not None:
        return _asked_for(volumes, path, series)
    if len(volumes) == 1:
        return volumes[0]
    in_3d = {volume.series for volume in volumes if len(volume.frames) > 1}
    candidates = [volume for volume in volumes if volume.series in in_3d]
    if len(in_3d) == 1 and len(candidates) == 1:
        return candidates[0]
    raise _several(volumes, path)


def _asked_for(volumes: list[DicomVolume], path: Path, series: str) -> DicomVolume:
    """The volume with this UID or number."""
    with_uid = [volume for volume in volumes if volume.uid == series]
    if len(with_uid) == 1:
        return with_uid[0]
    if series.isdecimal() and 1 <= int(series) <= len(volumes):
        return volumes[int(series) - 1]
    found = "several volumes" if with_uid else "no volume"
    raise UserError(
        f'"{path}" holds {found} called "{series}", but these: {_listed(volumes)}; {_HOW}.'
    )


def _several(volumes: list[DicomVolume], path: Path) -> UserError:
    series = {volume.series for volume in volumes}
    if len(series) == len(volumes):
        return UserError(
            f'"{path}" holds {len(series)} DICOM series: {_listed(volumes)}; {_HOW}, keep one'
            " series in a folder, or name one file of the wanted series."
        )
    if len({volume.plane for volume in volumes}) > 1:
        subject = (
            f'"{path}" mixes slices of different sizes or directions (a scout or several views?)'
        )
    else:
        subject = f'"{path}" holds {len(volumes)} volumes'
    return UserError(f"{subject}: {_listed(volumes)}; {_HOW}.")


def _listed(volumes: list[DicomVolume]) -> str:
    listed = ", ".join(f"{n}: {volume}" for n, volume in enumerate(volumes[:_MOST_LISTED], 1))
    more = len(volumes) - _MOST_LISTED
    return f"{listed} and {more} more" if more > 0 else listed
