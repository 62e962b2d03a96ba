"""What a segmenter's bundle says under "preprocessing", and the defaults where it says nothing."""

from __future__ import annotations

from math import prod

from MedLLMSegLib.core.types import Json, Triple

WINDOW: Triple = (96, 96, 96)  # voxels (k, j, i) in one pass, where the bundle names no window
ROOM = 16  # voxels that a view of an image may be longer than it
# Which connected parts of a label map stay: the rule's key and its text for people.
LARGEST_PART_RULES = {
    "each": "of each structure the largest connected part",
    "together": "of all structures together the largest connected part",
    "both": (
        "of all structures together the largest connected part, and within it that of each"
        " structure"
    ),
}


def window_shape(settings: Json) -> Triple:
    """Voxels (k, j, i) that a model takes in one pass: the shape of its training samples.

    settings: the bundle's "preprocessing". A model for crops around one organ always takes
    `WINDOW`, and so the whole crop.
    """
    takes_crops = "search_shape" in settings
    if takes_crops or not settings.get("window"):
        return WINDOW
    k, j, i = settings["window"]
    return int(k), int(j), int(i)


def window_for(settings: Json, shape: Triple) -> Triple:
    """Voxels (k, j, i) of one pass over an image of this shape.

    As `window_shape`; but all, and more, of an image of at most "whole_vox" voxels, where the
    bundle's "preprocessing" states that: one pass in place of several windows that overlap.
    """
    if prod(map(float, shape)) <= float(settings.get("whole_vox") or 0):
        k, j, i = (length + ROOM for length in shape)
        return k, j, i
    return window_shape(settings)


def domain_window(settings: Json, shape: Triple) -> Triple:
    """Voxels (k, j, i) around the middle of what is looked at that a scan's domain is told by.

    As `window_for`. A model that looks closer at what it found has that in the middle: the shape of
    its training samples is enough.
    """
    if settings.get("closer_look_mm") is None:
        return window_for(settings, shape)
    return window_shape(settings)


def largest_part_rule(settings: Json) -> str | None:
    """The key of `LARGEST_PART_RULES` in a bundle's "preprocessing"; None to keep all parts.

    Older bundles have true there, which means "each". Raises `ValueError` for any other value.
    """
    rule = settings.get("keep_largest")
    if rule is True:
        return "each"
    if rule in (None, False):
        return None
    if rule not in tuple(LARGEST_PART_RULES):
        raise ValueError(f'"keep_largest" is {rule!r}')
    return str(rule)
