"""What a segmenter's bundle says of its runs under "preprocessing", and what is meant where it
says nothing.
"""

from __future__ import annotations

Triple = tuple[int, int, int]
WINDOW: Triple = (
    96,
    96,
    96,
)  # voxels (k, j, i) that go through a network at once where its bundle does not say
LARGEST_PART_RULES = {  # connected parts that can be kept alone
    "each": "of each structure the largest connected part",
    "together": "of all structures together the largest connected part",
    "both": (
        "of all structures together the largest connected part, and within it that of each"
        " structure"
    ),
}


def window_shape(settings: dict) -> Triple:
    """Voxels (k, j, i) that a model takes at once, from its bundle's "preprocessing": those of its
    training samples.

    Models for crops around one organ take the whole crop, as they always did.
    """
    crops = "search_shape" in settings
    return (
        WINDOW if crops or not settings.get("window") else tuple(int(n) for n in settings["window"])
    )


def largest_part_rule(settings: dict) -> str | None:
    """The key of `LARGEST_PART_RULES` that a bundle's "preprocessing" asks for; None for all parts.

    Bundles of before there was a choice say true, for "each". Raises `ValueError` for anything
    else.
    """
    how = settings.get("keep_largest")
    if how not in (None, True, False, *LARGEST_PART_RULES):
        raise ValueError(f'"keep_largest" is {how!r}')
    return "each" if how is True else how or None
