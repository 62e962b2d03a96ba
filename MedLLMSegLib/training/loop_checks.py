"""What the training loop refuses: an uneven batch, a loss that is not finite."""

from __future__ import annotations

from collections.abc import Sequence

from MedLLMSegLib.core.errors import UserError


def check_batch(batch: int, world: int, whole_batches: bool = False) -> None:
    """Raises `UserError` for a batch that the processes cannot share.

    whole_batches: of a recipe whose samples are batches.
    """
    if whole_batches and batch % world:
        raise UserError(
            f"This training runs in one process, and {world} were started; leave torchrun or srun"
            " out."
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
