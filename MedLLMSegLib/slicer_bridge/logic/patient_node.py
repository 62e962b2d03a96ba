"""All images of a patient in one node: what a model of several images takes of a 4D file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.catalogue import find_model, read_metadata
from MedLLMSegLib.registry.input_channels import InputChannel, channels_of, listed
from MedLLMSegLib.slicer_bridge.scene.patient_images import count_images, read_images
from MedLLMSegLib.slicer_bridge.scene.sequence_nodes import SequenceSource


@dataclass(frozen=True, eq=False)
class PatientNode:
    """node: the volume node in the scene that the result lies over. images: in the model's order.
    note: which image was taken as what, for the user.
    """

    node: Any
    images: Sequence[Volume]
    note: str


def patient_in(volumeNode, source: SequenceSource | None, model) -> PatientNode | None:
    """The images of a patient in a sequence or a vector volume; None where the node is one scan, or
    the model takes one image at a time.

    source: the node's sequence, None without one. Raises `UserError` where the node holds more or
    fewer images than the model takes.
    """
    found = volumeNode if source is None else source.sequence
    count = count_images(found, wholeSequence=source is not None)
    channels = _channels(model) if count > 1 else ()
    if len(channels) < 2:
        return None
    if count != len(channels):
        raise UserError(
            f'"{found.GetName()}" holds {count} images, and the model "{model}" takes'
            f" {len(channels)} of one patient, in this order: {listed(channels)}; load a file of as"
            " many, or each image as a volume of its own."
        )
    images = read_images(volumeNode, source)
    names = ", ".join(channel.name for channel in channels)
    note = f'The {count} images in "{found.GetName()}" were taken as {names}, in this order.'
    return PatientNode(volumeNode if source is None else source.proxy, images, note)


def _channels(model) -> tuple[InputChannel, ...]:
    """The images that a model takes; () where it does not say so, or cannot be read.

    model: as in `SegmentJobOptions`, a loaded one too.
    """
    if not isinstance(model, (str, os.PathLike)):
        return tuple(getattr(model, "channels", ()))
    try:
        settings = read_metadata(find_model(model).folder).get("preprocessing")
        return channels_of(settings) if isinstance(settings, dict) else ()
    except UserError:  # the worker will report what is wrong
        return ()
