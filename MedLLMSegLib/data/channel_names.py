"""What the images of a case are called, and which of them a training or a model uses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.registry.input_channels import InputChannel, check_names, listed

from .case import Case, CaseSet
from .case_images import read_images, with_file_images
from .channel_images import join_channels


def plain_name(name: str) -> str:
    """A channel's name in small letters, such as "t1w_post" for "T1w (post)"."""
    return re.sub(r"[^\w-]+", "_", name.casefold()).strip("_")


def channel_names(
    source: PathLike, cases: Sequence[Case], stated: Sequence[str] = ()
) -> tuple[str, ...]:
    """The names of the images of each case; () where each case is one image without a name.

    stated: what the source calls them. Where it does not, they are channel_0, channel_1 and so on.
    Raises `UserError` where cases have other numbers of images.
    """
    first = cases[0]
    count = len(first.images)
    for case in cases:
        if len(case.images) != count:
            raise UserError(
                f'The case "{case.id}" of "{source}" has {len(case.images)} images and "{first.id}"'
                f" has {count}; give each case the same images."
            )
    if count == 1:
        return ()
    if stated and len(stated) != count:
        raise UserError(
            f'"{source}" names {len(stated)} images of a case ({", ".join(stated)}), and each case'
            f" has {count}; correct the names, or add the images."
        )
    names = [plain_name(name) for name in stated] or [f"channel_{n}" for n in range(count)]
    check_names(names)
    return tuple(names)


def with_channels(case_set: CaseSet, wanted: Sequence[str]) -> CaseSet:
    """The cases with these images alone, in this order; all of them where nothing is named.

    wanted: names of the source's images; where it names none, what they are called, also of the
    volumes of 4D files. Raises `UserError` for a name that it does not have, and for one alone of
    the volumes of 4D files.
    """
    if not wanted:
        return case_set
    names = tuple(plain_name(name) for name in wanted)
    check_names(names)
    if not case_set.channels:
        cases = with_file_images(case_set.cases, names)
        if cases[0].volumes:
            return replace(case_set, cases=cases, channels=names)
    if len(names) == 1 and case_set.cases[0].volumes:
        raise UserError(
            f'The images of each case in "{case_set.source}" lie in one file, of which two or more'
            " can be named; for one alone, save it as a file of its own."
        )
    count = len(case_set.cases[0].images)
    unnamed = all(name == f"channel_{n}" for n, name in enumerate(case_set.channels))
    own = names if unnamed and len(names) == count else case_set.channels
    unknown = [name for name in names if name not in own]
    if unknown:
        known = ", ".join(case_set.channels) or "one, without a name"
        raise UserError(
            f'There is no image "{unknown[0]}" of the cases in "{case_set.source}"; their images'
            f" are: {known}."
        )
    places = [own.index(name) for name in names]
    return replace(
        case_set,
        cases=tuple(_with_images(case, places) for case in case_set.cases),
        channels=names,
    )


def _with_images(case: Case, places: Sequence[int]) -> Case:
    image, *channels = (case.images[n] for n in places)
    volumes = tuple(case.volumes[n] for n in places) if case.volumes else ()
    return replace(case, image=image, channels=tuple(channels), volumes=volumes)


def case_for(
    case: Case, names: Sequence[str], channels: Sequence[InputChannel], model: str
) -> Case:
    """A case with the images that a model takes, in its order.

    names: of the case's images (`CaseSet.channels`). channels: of the model, () for one image
    without a name. Those that both name are known by their names, others by their order. Raises
    `UserError` where they are not as many.
    """
    wanted = [channel.name for channel in channels]
    if wanted and set(wanted) <= set(names):
        return _with_images(case, [names.index(name) for name in wanted])
    if not names:
        (case,) = with_file_images([case], wanted)
    if len(case.images) == max(1, len(wanted)):
        return case
    have = ", ".join(names) or "without a name"
    takes = listed(channels) or "one image"
    raise UserError(
        f'The case "{case.id}" has {len(case.images)} image{"s" * (len(case.images) > 1)} ({have}),'
        f' and the model "{model}" takes {takes}; name the images of the cases as the model does,'
        " or keep those that it takes."
    )


def load_images(
    case: Case, names: Sequence[str], channels: Sequence[InputChannel], model: str
) -> list[Volume]:
    """The images of `case_for`, read from the files."""
    return read_images(case_for(case, names, channels, model))


def load_case(
    case: Case, names: Sequence[str], channels: Sequence[InputChannel], model: str
) -> Volume:
    """The images of a case as one volume on the first one's grid (`join_channels`).

    Of a model without channels it is the one image, unchecked.
    """
    images = load_images(case, names, channels, model)
    return join_channels(images, channels, model) if channels else images[0]
