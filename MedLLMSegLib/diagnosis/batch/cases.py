"""Cases: the images of one patient that are diagnosed together, found from paths and folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel
from MedLLMSegLib.io.dicom.sort import dicom_files, is_dicom, slice_series
from MedLLMSegLib.io.itk_images import scan_suffix
from MedLLMSegLib.io.pictures import is_picture
from MedLLMSegLib.io.scan_search import find_scans

# A case's images in the order of the model's channels; None for one that is missing.
CaseImages: TypeAlias = tuple[Path | None, ...]

HEAT_SUFFIX = "_heat"  # of our own heat maps, which are no images to diagnose
MOST_XRAYS_OF_SERIES = 3  # of one DICOM series in a folder; more are a scan in slices


def find_cases(
    paths: Sequence[Path], model: ClassifierModel, channels: Mapping[str, Path] | None = None
) -> list[CaseImages]:
    """The cases that paths stand for, in the order of the paths.

    Each image is a case. All of them together are one case where the model takes several images
    without names. channels: name -> file of a further channel, or a folder with an image named
    like each first image. For a model with named channels each path is the first channel of a
    case; without paths there is one case that lacks it. A folder stands for the images in it; for
    models of volumes, as in `find_scans`, a folder with a DICOM series is one. A path that does
    not exist is kept: reading it raises the right error. Raises `UserError`.
    """
    further = channels or {}
    if further:
        _check_names(further, model)
    flat = model.input.kind == "radiograph"
    images = list(_radiographs(paths)) if flat else find_scans(paths)
    if model.input.channels:
        return _with_channels(list(dict.fromkeys(images)), model, further)
    if model.input.kind == "frames" or model.config.encoder.channels > 1:
        return [tuple(images)]
    return [(image,) for image in dict.fromkeys(images)]


def _radiographs(paths: Iterable[Path]) -> Iterable[Path]:
    """The paths, and in place of each folder the images in it."""
    for path in paths:
        if os.path.isdir(path):  # unlike Path.is_dir, it raises no error for an impossible name
            yield from _images_in(path)
        else:
            yield path


def _check_names(channels: Iterable[str], model: ClassifierModel) -> None:
    known = model.input.channels
    unknown = [name for name in channels if name not in known]
    if not unknown:
        return
    if known:
        knowledge = f"knows {', '.join(known)}; correct its name."
    else:
        knowledge = "has no such channels; leave it out."
    raise UserError(
        f'A channel "{unknown[0]}" was given, and the model "{model.entry.id}" {knowledge}'
    )


def _with_channels(
    first_images: list[Path], model: ClassifierModel, channels: Mapping[str, Path]
) -> list[CaseImages]:
    """A case for each image of the first channel, with the images of the other channels."""
    names = list(model.input.channels)
    if not first_images:
        return [(None, *(channels.get(name) for name in names))]
    if len(first_images) > 1:
        _check_folders(len(first_images), model, channels)
    image_of_channel = {name: _ChannelImages(source) for name, source in channels.items()}
    cases: list[CaseImages] = []
    for first in first_images:
        others = [image_of_channel[name].of(first) if name in channels else None for name in names]
        cases.append((first, *others))
    for number, name in enumerate(names, 1):
        if name in channels and all(case[number] is None for case in cases):
            raise UserError(
                f'The folder "{channels[name]}" holds no image called'
                f' "{file_stem(first_images[0])}" for the channel {name}; name the file itself, or'
                " give it the name of the image."
            )
    return cases


def _check_folders(count: int, model: ClassifierModel, channels: Mapping[str, Path]) -> None:
    """Raise `UserError` unless each channel of several patients is a folder."""
    if not channels:
        name = next(iter(model.input.channels))
        raise UserError(
            f'{count} images were given, and the model "{model.entry.id}" looks at'
            f" {' and '.join(model.input.names)} of each patient; name the others with --channel"
            f" {name}=FILE, for several patients --channel {name}=FOLDER."
        )
    for name, source in channels.items():
        if not source.is_dir():
            raise UserError(
                f'The channel {name} is one file, "{source}", but {count} images were given;'
                " name a folder with one file for each image, of the same name."
            )


class _ChannelImages:
    """The images of a further channel: one file, or those in a folder by their names."""

    def __init__(self, source: Path) -> None:
        self.file = source
        self.by_stem: dict[str, Path] | None = None
        if source.is_dir():
            self.by_stem = {file_stem(image): image for image in _images_in(source)}

    def of(self, first: Path) -> Path | None:
        """The image that belongs to an image of the first channel."""
        return self.file if self.by_stem is None else self.by_stem.get(file_stem(first))


def first_image(images: CaseImages) -> Path:
    """The first image of a case that is not missing: the case's results are named after it."""
    return next(path for path in images if path is not None)


def case_label(images: CaseImages, model: ClassifierModel) -> str:
    """The files of a case as one text; further channels with their names in front."""
    names = model.input.names
    labels = []
    for number, path in enumerate(images):
        if path is not None:
            labels.append(f"{names[number]}={path}" if number and names else str(path))
    return " + ".join(labels)


def result_names(cases: Sequence[CaseImages]) -> list[str]:
    """A result name for each case: that of its first image.

    Where two would be the same, the folder's name is put in front, and if need be a number behind.
    """
    images = [first_image(case) for case in cases]
    stems = [file_stem(image) for image in images]
    names = [
        f"{image.resolve().parent.name}_{stem}" if stems.count(stem) > 1 else stem
        for image, stem in zip(images, stems, strict=True)
    ]
    return [
        f"{name}_{names[:index].count(name) + 1}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def find_lung_mask(image: Path, lungs: Path | None) -> Path | None:
    """The lung mask of an image: the file of its name where ``lungs`` is a folder.

    Raises `UserError` where there is none.
    """
    if lungs is None or not lungs.is_dir():
        return lungs
    stem = file_stem(image)
    for path in sorted(lungs.iterdir()):
        if file_stem(path) == stem and (is_picture(path) or scan_suffix(path)):
            return path
    raise UserError(
        f'The folder "{lungs}" holds no lung mask called "{stem}"; add it, or leave the masks out.'
    )


def file_stem(path: Path) -> str:
    """A file's name without its ending, which may have two parts, such as .nii.gz."""
    suffix = scan_suffix(path)
    if suffix:
        return path.name[: -len(suffix)]
    return path.stem


def _images_in(folder: Path) -> list[Path]:
    """The images in a folder, without heat maps of ours. Raises `UserError`."""
    try:
        files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        slices = [path for path in dicom_files(folder) if slice_series(path) is not None]
    except OSError as error:
        raise UserError(
            f'The folder "{folder}" may not be read ({error.strerror}); check its permissions.'
        ) from error
    if len(slices) > MOST_XRAYS_OF_SERIES:
        raise UserError(
            f'The folder "{folder}" holds a DICOM series of {len(slices)} slices, and flat X-ray'
            " images are needed; choose those."
        )
    images = [path for path in files if _is_image(path)]
    if not images:
        raise UserError(
            f'The folder "{folder}" holds no image that can be read here; name the images'
            " themselves."
        )
    return images


def _is_image(path: Path) -> bool:
    if file_stem(path).endswith(HEAT_SUFFIX):
        return False
    return is_picture(path) or bool(scan_suffix(path)) or is_dicom(path)
