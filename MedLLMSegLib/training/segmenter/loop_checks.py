"""What the training loop refuses: too few cases, an uneven batch, a loss that is not finite."""

from __future__ import annotations

from collections.abc import Sequence

from MedLLMSegLib.core.errors import UserError


def check_cases_and_batch(train: list[dict], val: list[dict], batch: int, world: int) -> None:
    """Raises `UserError` without cases, and for a batch that the processes cannot share."""
    if not train or not val:
        raise UserError(
            f"There are {len(train)} cases to train on and {len(val)} to choose the best"
            " weights on, and at least one of each is needed; label more cases."
        )
    if batch % world:
        raise UserError(
            f"A batch of {batch} cannot be shared evenly by {world}"
            f" processes; use --batch {world * max(1, batch // world)}."
        )


def not_finite(finding: str, cases: Sequence[str], kept: str) -> UserError:
    """The error of a training that cannot go on.

    finding: what became of the loss or the gradients, and when. cases: ids of the batch's cases.
    kept: what of the training is left.
    """
    several = len(cases) > 1
    images, them = ("these images", "them") if several else ("this image", "it")
    return UserError(
        f"{finding}, on the case{'s' * several} {', '.join(cases)}; look at {images}, and train"
        f" into another folder without {them} or with a lower --lr; {kept}."
    )
