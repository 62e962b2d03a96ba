"""A prepared array through a network to class probabilities: whole where it fits, in windows
where it does not.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.memory import is_out_of_memory
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.registry.segmenter_settings import WINDOW, Triple

SMALLEST = 32  # voxels of an axis: below this, tiles show a network too little

# Where memory runs out or a GPU cannot, the stage that is reported begins so, and a run's notes say
# it. Ordered by priority: only the first match is reported.
SMALLER_TILES, ON_CPU = "segment in smaller tiles", "segment on the CPU"
LACKING = "segment on the CPU, as the GPU lacks an operation"
FALLBACKS = {
    LACKING: "This GPU lacks an operation that the model needs; the CPU was used.",
    ON_CPU: "The {memory} was too small; the CPU was used.",
    SMALLER_TILES: "The {memory} was too small; smaller tiles were used.",
}


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" takes CUDA, then Apple's MPS, then the CPU; "cuda:1" is the second GPU.

    Raises `UserError` for a device this computer lacks.
    """
    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        return torch.device(next(kind for kind, count in counts.items() if count))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in counts:
        raise UserError(
            f'"{name}" is no device; use auto, cpu, cuda, cuda:1 (the second GPU) or mps.'
        )
    if (device.index or 0) >= counts[device.type]:
        raise UserError(
            f'This computer has no usable "{name}" device; use --device auto or --device cpu.'
        )
    return device


def lacks_operation(error: BaseException) -> bool:
    """Whether an error says that torch has an operation not (yet) for a device; Apple's MPS is
    where some are missing.

    Most are of a type of their own; MPS refuses 3D convolutions (torch before 2.3), transposed ones
    (before 2.8, and in half precision) with a plain RuntimeError that says so.
    """
    said = isinstance(error, RuntimeError) and "not supported on mps" in str(error).lower()
    return said or isinstance(error, NotImplementedError)


def cpu_fallback_stage(error: BaseException) -> str | None:
    """The stage to report where the CPU can do what a GPU could not (`ON_CPU`, `LACKING`); None
    where something else is wrong.
    """
    return LACKING if lacks_operation(error) else ON_CPU if is_out_of_memory(error) else None


def memory_notes(stages: Iterable[str], device: torch.device) -> tuple[str, ...]:
    """The sentence for the user, if any, about a run on ``device`` that reported these stages."""
    memory = "computer's memory" if device.type == "cpu" else "GPU's memory"
    return tuple(
        text.format(memory=memory)
        for name, text in FALLBACKS.items()
        if any(s.startswith(name) for s in stages)
    )[:1]


def predict(
    network: nn.Module,
    array: np.ndarray,
    device: torch.device,
    window: Triple = WINDOW,
    overlap: float = 0.5,
    progress: Report | None = None,
) -> np.ndarray:
    """Logits of a prepared array.

    array: float32 [k, j, i]. Returns float32 [classes, k, j, i]. An array no larger than `window`
    goes through whole; a larger one by MONAI's sliding window with Gaussian weights, gathered in
    the computer's memory whatever the device. An axis shorter than the window is taken as it is.
    `progress` is called before each window, and may raise `Cancelled`. Where the device's memory
    runs out, everything is done again with half the window, down to 32 voxels an axis, and then on
    the CPU; `progress` then names the stage `SMALLER_TILES` or `ON_CPU`. Where the device lacks an
    operation, the CPU takes over at once (`LACKING`). The network stays on ``device`` for the next
    time.
    """
    window, asked = tuple(min(w, n) for w, n in zip(window, array.shape)), device
    stage, tiles = "segment", window
    while True:
        try:
            logits = _predict(network.to(device), array, device, tiles, overlap, progress, stage)
            network.to(asked)  # a training goes on there
            return logits
        except RuntimeError as error:
            lacking = device.type != "cpu" and lacks_operation(error)
            if not (lacking or is_out_of_memory(error)):
                raise
            smaller = tuple(min(w, max(SMALLEST, w // 2)) for w in tiles)
            if smaller == tiles and device.type == "cpu":
                raise
        # Only here, where the error and what its traceback held are gone, is there anything to
        # free.
        free_memory(device)
        if lacking:
            stage, device = LACKING, torch.device("cpu")
        elif smaller != tiles:
            stage, tiles = SMALLER_TILES, smaller
        else:
            stage, tiles, device = ON_CPU, window, torch.device("cpu")


def free_memory(device: torch.device) -> None:
    """Give back what torch keeps of a GPU's memory for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@torch.inference_mode()
def _predict(
    network: nn.Module,
    array: np.ndarray,
    device: torch.device,
    window: Triple,
    overlap: float,
    progress: Report | None,
    stage: str,
) -> np.ndarray:
    image = torch.from_numpy(np.ascontiguousarray(array))[None, None]  # (1, 1, K, J, I)
    if window == array.shape:
        if progress:
            progress(stage, 0.0)
        return network(image.to(device))[0].float().cpu().numpy()
    from monai.inferers import (
        sliding_window_inference,  # takes seconds to import, and crops do not need it
    )
    from monai.inferers.utils import dense_patch_slices

    total = len(
        dense_patch_slices(array.shape, window, [max(1, int(w * (1 - overlap))) for w in window])
    )
    done = 0

    def step(patch: torch.Tensor) -> torch.Tensor:
        nonlocal done
        if progress:
            progress(stage, min(1.0, done / total))
        done += 1
        return network(patch).float()

    logits = sliding_window_inference(
        image,
        window,
        1,
        step,
        overlap,
        mode="gaussian",
        sw_device=device,
        device=torch.device("cpu"),
    )
    return logits[0].numpy()
