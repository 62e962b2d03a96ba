"""Several images of one patient, such as a CT and a PET, as the channels of one volume.

All lie on the first one's grid: the others are resampled onto it by where both lie in the patient
(RAS mm), and refused where they hardly overlap. Each must be what the model takes in that place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, transform_points
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.core.volume import Quantity, Volume, check_scan
from MedLLMSegLib.registry.input_channels import HU, SUV, InputChannel, listed, modality_name

# Of the first image, how much another one has to cover, and below which share a note says so.
LEAST_COVERED, COVERED = 0.25, 0.95
MOST_SUV = 2000.0  # far above what is measured at an injection; Bq/mL go far beyond it
SAME_PLACE_VOX = 1e-3
JOINED = Quantity("channels")  # of a volume of several images, each in its channel's unit
_POINTS = 32  # along each axis, at which the overlap is looked at
_UNSTATED = ("", "OT", "SC")  # modalities that say nothing


def join_channels(images: Sequence[Volume], channels: Sequence[InputChannel], model: str) -> Volume:
    """The images of a patient as one volume on the first one's grid, in the channels' units.

    images: 3D, in the order of ``channels``. model: what takes them, for messages. Returns a volume
    [k, j, i] of one channel, or float32 [c, k, j, i] of several. Raises `UserError` for too few or
    too many images, for one that is not what its channel takes, and for one that hardly overlaps
    the first.
    """
    check_count(len(images), channels, model)
    for image in images:
        check_scan(image)
    measured = [
        _as_channel(image, channel, channels)
        for image, channel in zip(images, channels, strict=True)
    ]
    first = measured[0]
    notes = [note for image in measured for note in image.notes]
    if len(measured) == 1:
        return first
    array = np.empty((len(measured), *first.array.shape), np.float32)
    for image, channel, out in zip(measured, channels, array, strict=True):
        notes += _put(image, first, channel, out)
    return replace(first, array=array, notes=tuple(notes), quantity=JOINED)


def images_in_file(volume: Volume, channels: Sequence[InputChannel], model: str) -> list[Volume]:
    """The images of a patient that are the volumes of one file, in the channels' order.

    volume: [c, k, j, i]. model: what takes them, for messages. Raises `UserError` unless they are
    as many as the channels.
    """
    count = len(volume.array)
    if count != len(channels):
        raise UserError(
            f'"{volume.name}" holds {count} images, and the model "{model}" takes {len(channels)}'
            f" images of one patient, in this order: {listed(channels)}; give a file of as many, or"
            " each image as a file of its own."
        )
    first, *others = (image_of_file(volume, n) for n in range(count))
    names = ", ".join(channel.name for channel in channels)
    note = f'The {count} images in "{volume.name}" were taken as {names}, in this order.'
    return [replace(first, notes=(*volume.notes, note)), *others]


def image_of_file(volume: Volume, number: int) -> Volume:
    """One of the images of a file, [k, j, i], without the file's notes. volume: [c, k, j, i]."""
    name = f"{volume.name}, image {number + 1}"
    return replace(volume, array=volume.array[number], name=name, tags={}, notes=())


def check_count(count: int, channels: Sequence[InputChannel], model: str) -> None:
    """Raise `UserError` unless there is one image for each channel."""
    needed = len(channels)
    if count == needed:
        return
    images = "1 image" if needed == 1 else f"{needed} images of one patient"
    were = "1 was" if count == 1 else f"{count} were"
    raise UserError(
        f'The model "{model}" takes {images}, in this order: {listed(channels)}; {were} given.'
    )


def stated_as(image: Volume, channel: InputChannel, statement: str) -> Volume:
    """An image of which the user says what its numbers are.

    statement: the channel's unit, such as "SUV", or the number by which the values are multiplied
    to come to it (0.05 for SUV x 20). Raises `UserError` for anything else.
    """
    quantity = Quantity(channel.modality, channel.unit)
    if channel.unit and statement.strip().upper() == channel.unit:
        return replace(image, quantity=quantity)
    try:
        factor = float(statement)
    except ValueError:
        factor = float("nan")
    if not (channel.unit and 0 < factor < float("inf")):
        known = f"{channel.unit} or a factor to it" if channel.unit else "none, as it has no unit"
        raise UserError(
            f'The unit of {channel.name} is given as "{statement}", and possible is {known}.'
        )
    return replace(image, array=np.float32(factor) * image.array, quantity=quantity)


def _as_channel(image: Volume, channel: InputChannel, channels: Sequence[InputChannel]) -> Volume:
    """An image in the unit of its channel. Raises `UserError` where it is something else."""
    stated = image.quantity.modality
    if channel.modality and stated not in (*_UNSTATED, channel.modality):
        raise _wrong(image, channel, channels, f"it is {_article(stated)} by its tags ({stated})")
    if channel.unit == SUV:
        image = _in_suv(image)
    # A part of a CT may hold soft tissue alone; where its tags state HU, its values need not.
    states_hu = channel.unit == HU and image.quantity.unit == HU
    if not states_hu and (odd := _odd_values(image.array, channel.unit)):
        raise _wrong(image, channel, channels, odd)
    return image


def _article(modality: str) -> str:
    name = modality_name(modality)
    return f"{'an' if name[0] in 'aeiouMX' else 'a'} {name}"


def _wrong(
    image: Volume, channel: InputChannel, channels: Sequence[InputChannel], why: str
) -> UserError:
    order = (
        f"give the images in this order: {listed(channels)}"
        if len(channels) > 1
        else "choose another image"
    )
    return UserError(f'"{image.name}" cannot be the image {channel}: {why}; {order}.')


def _in_suv(image: Volume) -> Volume:
    """A PET in SUV by body weight, with a note on how it came to it."""
    quantity = image.quantity
    if quantity.unit == SUV:
        return image
    if quantity.suv_factor is not None:
        values = np.float32(quantity.suv_factor) * image.array
        note = f'"{image.name}" was brought to SUV by body weight: times {quantity.suv_factor:.4g}.'
        return replace(
            image, array=values, quantity=Quantity("PT", SUV), notes=(*image.notes, note)
        )
    if quantity.unit:
        raise UserError(
            f'The SUV of "{image.name}" cannot be worked out: {quantity.why_no_suv}; give an image'
            " in SUV."
        )
    note = f'"{image.name}" states no unit; its values were taken as SUV.'
    return replace(image, notes=(*image.notes, note))


def _odd_values(array: Array, unit: str) -> str:
    """Why values cannot be in a unit; "" where they can."""
    if unit not in (HU, SUV):
        return ""
    low, high = float(array.min()), float(array.max())
    if unit == HU and low >= 0:
        return f"its lowest value is {low:g}, and in a CT fat and air are below 0 HU"
    if unit == SUV and low < -max(1.0, 0.05 * high):  # interpolation gives a little below 0
        return f"its values go down to {low:g}, and a SUV is never below 0"
    if unit == SUV and high > MOST_SUV:
        return (
            f"its values go up to {high:.4g}, which no SUV does (give DICOM files or an image in"
            " SUV, or say what one unit is in SUV)"
        )
    return ""


def _put(image: Volume, first: Volume, channel: InputChannel, out: Array) -> list[str]:
    """Write an image onto the first one's grid; returns notes. Raises `UserError`."""
    if lies_on(image.grid, first.grid):
        out[...] = image.array
        return []
    covered = covered_share(first.grid, image.grid)
    if covered < LEAST_COVERED:
        raise UserError(
            f'"{image.name}" ({channel.name}) covers {covered:.0%} of "{first.name}", and both must'
            " show the same part of the patient; check that they belong together and are"
            " registered."
        )
    lowest = float(image.array.min())  # air in a CT, nothing in a PET
    resample(image.array, image.grid, first.grid, outside=lowest, out=out)
    if covered >= COVERED:
        return []
    return [
        f'"{image.name}" covers {covered:.0%} of "{first.name}"; beyond it, the model saw none of'
        f" its {channel.name}."
    ]


def lies_on(one: Grid, other: Grid) -> bool:
    """Whether two grids have the same voxels."""
    if one.shape != other.shape:
        return False
    apart_mm = float(np.abs(one.corners_ras() - other.corners_ras()).max())
    return apart_mm <= SAME_PLACE_VOX * min(other.spacing_mm)


def covered_share(grid: Grid, other: Grid) -> float:
    """The share of a grid's volume that lies within another's faces, to a few percent."""
    k, j, i = (np.linspace(0, n - 1, min(n, _POINTS)) for n in grid.shape)
    points_ijk = np.stack(np.meshgrid(i, j, k, indexing="ij"), -1).reshape(-1, 3)
    points_ras = transform_points(grid.ijk_to_ras, points_ijk)
    inside_ijk = transform_points(np.linalg.inv(other.ijk_to_ras), points_ras)
    faces = np.array(other.shape[::-1]) - 0.5
    inside = ((inside_ijk > -0.5 - SAME_PLACE_VOX) & (inside_ijk < faces + SAME_PLACE_VOX)).all(1)
    return float(inside.mean())
