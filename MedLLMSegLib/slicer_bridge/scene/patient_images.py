"""Several images of one patient in one node, for a model that takes several.

Slicer loads a file of several images (4D) as a sequence, or as a volume of several values in each
voxel (a vector volume).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume

from .node_quantity import quantity_of_node
from .sequence_nodes import SequenceSource, source_of
from .volume_nodes import components_of, ijk_to_ras, read_components, read_volume


def count_images(node, wholeSequence: bool = True) -> int:
    """How many images a volume node stands for; 1 for a scan by itself, and where it is none.

    wholeSequence: False for the image of a sequence that is shown alone.
    """
    try:
        source = source_of(node, wholeSequence)
    except UserError:  # a sequence of something else
        return 1
    if source is not None:
        return source.sequence.GetNumberOfDataNodes()
    return components_of(node) if node is not None and node.IsA("vtkMRMLVolumeNode") else 1


def read_images(node, source: SequenceSource | None) -> list[Volume]:
    """The images that a node stands for, in order. source: its sequence, as `source_of` gives it.

    Raises `UserError`, also where the node shows another grid than the first image's: the result
    lies on that one.
    """
    if source is None:
        return read_components(node)
    sequence = source.sequence
    images = []
    for n in range(sequence.GetNumberOfDataNodes()):
        image = sequence.GetNthDataNode(n)
        volume = read_volume(image, source.proxy, f"{sequence.GetName()}, image {n + 1}")
        images.append(replace(volume, quantity=quantity_of_node(image)))
    _check_grid(source, images[0])
    return images


def _check_grid(source: SequenceSource, first: Volume) -> None:
    proxy, name = source.proxy, source.sequence.GetName()
    if proxy is None:
        raise UserError(
            f'The sequence "{name}" is not shown, and the segmentation needs a volume to lie over;'
            " show it in the module Sequences, and try again."
        )
    shown, matrix = proxy.GetImageData(), ijk_to_ras(source.sequence.GetNthDataNode(0))
    same = shown is not None and shown.GetDimensions()[::-1] == first.array.shape
    if not same or not np.allclose(ijk_to_ras(proxy), matrix):
        raise UserError(
            f'The images of "{name}" lie on different grids, and the result lies on that of the'
            " first; go to the first image in the module Sequences, and try again."
        )
