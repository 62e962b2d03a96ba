"""The voxels whose logits are explained, on the network's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, transform_points
from MedLLMSegLib.core.types import Array
from MedLLMSegLib.registry.segmenter_settings import largest_part_rule
from MedLLMSegLib.segmentation.clean import keep_largest
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
from MedLLMSegLib.segmentation.outline import Outline
from MedLLMSegLib.segmentation.region import Region

from .asked import Asked
from .grad_cam import Question

POINT_MM = 2.0  # voxels whose centres lie no further from a point belong to it


@dataclass(frozen=True, eq=False)
class Target:
    """What is explained.

    grid: of the network. region: bool [k, j, i] on it, the voxels. outputs: output of the network
    -> bool [k, j, i], where its logit is meant. structure: bool [k, j, i], all that was outlined of
    what was asked for. rivals: the outputs of all other classes.
    """

    grid: Grid
    region: NDArray[np.bool_]
    outputs: dict[int, NDArray[np.bool_]]
    structure: NDArray[np.bool_]
    rivals: tuple[int, ...]

    def question(self) -> Question:
        """What is asked of the network: the mean over the voxels."""
        total = np.float32(max(1, sum(int(mask.sum()) for mask in self.outputs.values())))
        counts = {n: torch.from_numpy(mask / total) for n, mask in self.outputs.items()}
        return Question(counts, self.rivals)


@dataclass(frozen=True)
class Place:
    """A part of a structure: inside a box, or around a point (3,) in RAS mm. None, None for all."""

    box: Region | None = None
    point_ras: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.box is not None and self.point_ras is not None:
            raise UserError("A box and a point were given; choose one of them.")
        if self.point_ras is not None and not np.isfinite(self.point_ras).all():
            raise UserError(f"A point needs three numbers in RAS mm, not {self.point_ras}.")


def target_of(
    outlined: Outline, model: SegmenterModel, asked: Asked, place: Place, scan: str
) -> Target:
    """The voxels of a structure, or of a part of it; the logit of each is that of its own class.

    Around a point it is the structure's logit, whether or not the structure was outlined there.
    scan: its name, for messages. Raises `UserError` where there is nothing to explain.
    """
    grid = outlined.way_back.crop
    label_of_number = model.label_of_number(outlined.side)
    numbers = outlined.scores.winner.cpu().numpy()
    labels = _cleaned(label_of_number[numbers], model)
    wanted = [structure.label for structure in asked.structures]
    structure = np.isin(labels, wanted)
    if not structure.any() and place.point_ras is None:
        raise UserError(
            f'{asked.title} was not found in "{scan}", so there is nothing to explain; name a'
            " structure that was outlined, or a point where it should be."
        )
    region = structure
    if place.box is not None:
        region = _within(structure, place.box, grid)
        if not region.any():
            raise UserError(
                f'The box holds nothing of {asked.title} in "{scan}"; move it onto the structure.'
            )
    if place.point_ras is not None:
        region = _around(place.point_ras, grid, scan)
    classes = model.reading.classes
    outputs: dict[int, NDArray[np.bool_]] = {}
    for number in np.flatnonzero(np.isin(label_of_number, wanted)):
        output = int(number) % classes
        own = region & (labels == label_of_number[number])
        outputs[output] = outputs.get(output, np.zeros_like(own)) | own
    if place.point_ras is not None:  # where none of them won, all are meant
        undecided = region & ~structure
        outputs = {output: own | undecided for output, own in outputs.items()}
    rivals = tuple(output for output in range(classes) if output not in outputs)
    meant = {output: own for output, own in outputs.items() if own.any()}
    return Target(grid, region, meant, structure, rivals)


def _cleaned(labels: NDArray[np.uint8], model: SegmenterModel) -> Array:
    rule = "together" if model.anatomy else largest_part_rule(model.settings)
    return keep_largest(labels, rule) if rule else labels


def _within(structure: NDArray[np.bool_], box: Region, grid: Grid) -> NDArray[np.bool_]:
    inside = np.zeros_like(structure)
    inside[box.box_on(grid)] = True
    return structure & inside


def _around(point_ras: Sequence[float], grid: Grid, scan: str) -> NDArray[np.bool_]:
    """The voxels around a point, and in any case the nearest one."""
    i, j, k = np.round(transform_points(np.linalg.inv(grid.ijk_to_ras), point_ras)).astype(int)
    nearest = (int(k), int(j), int(i))
    if not all(0 <= n < length for n, length in zip(nearest, grid.shape, strict=True)):
        point = " ".join(f"{mm:g}" for mm in point_ras)
        raise UserError(
            f'The point {point} (RAS mm) lies outside of what the model looked at in "{scan}"; move'
            " it to the structure."
        )
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)  # (k, j, i, 3)
    centres_ras = transform_points(grid.ijk_to_ras, indices[..., ::-1])
    region: NDArray[np.bool_] = np.linalg.norm(centres_ras - point_ras, axis=-1) <= POINT_MM
    region[nearest] = True
    return region
