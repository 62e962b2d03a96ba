"""A prepared array through a network to logits: whole, or in windows where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.memory import is_out_of_memory
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.engines.graph import FP32
from MedLLMSegLib.registry.segmenter_settings import WINDOW

from .layer_progress import layer_progress
from .precision import float32_logits, logit_slabs
from .scores import Reading, Scores, ScoresGather
from .window_plan import WindowPlan
from .windows import slabs_of_logits

SMALLEST_TILE = 32  # voxels of an axis: smaller tiles show a network too little

# Stages that are reported after a fallback. A run's notes name them. The order is the priority:
# only the first match becomes a note.
SMALLER_TILES, ON_CPU = "segment in smaller tiles", "segment on the CPU"
LACKING = "segment on the CPU, as the GPU lacks an operation"
FALLBACKS = {
    LACKING: "This GPU lacks an operation that the model needs; the CPU was used.",
    ON_CPU: "The {memory} was too small; the CPU was used.",
    SMALLER_TILES: "The {memory} was too small; smaller tiles were used.",
}


def choose_device(name: str = "auto") -> torch.device:
    """The torch device for a name.

    "auto" takes CUDA, then Apple's MPS, then the CPU; "cuda:1" is the second GPU. Raises
    `UserError` for a device that this computer does not have.
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
            f'"{name}" is not a device; use auto, cpu, cuda, cuda:1 (the second GPU) or mps.'
        )
    if (device.index or 0) >= counts[device.type]:
        raise UserError(
            f'This computer has no usable "{name}" device; use --device auto or --device cpu.'
        )
    return device


def lacks_operation(error: BaseException) -> bool:
    """Whether an error says that torch does not support an operation on the device.

    Some operations are missing on Apple's MPS. Most of these errors have their own type. MPS
    refuses 3D convolutions (torch before 2.3) and transposed ones (before 2.8, and in half
    precision) with a plain RuntimeError.
    """
    refused = isinstance(error, RuntimeError) and "not supported on mps" in str(error).lower()
    return refused or isinstance(error, NotImplementedError)


def cpu_fallback_stage(error: BaseException) -> str | None:
    """The stage to report before the CPU takes over from a GPU: `ON_CPU` or `LACKING`.

    None for an error that the CPU would not solve.
    """
    if lacks_operation(error):
        return LACKING
    return ON_CPU if is_out_of_memory(error) else None


def memory_notes(stages: Iterable[str], device: torch.device) -> tuple[str, ...]:
    """The note, if any, on a run on ``device`` that reported these stages."""
    memory = "computer's memory" if device.type == "cpu" else "GPU's memory"
    reported = list(stages)
    for fallback, note in FALLBACKS.items():
        if any(stage.startswith(fallback) for stage in reported):
            return (note.format(memory=memory),)
    return ()


@dataclass(frozen=True)
class _Attempt:
    """One way to run a network.

    tile: voxels (k, j, i) at once. stage: the name that is reported.
    """

    device: torch.device
    tile: Triple
    stage: str = "segment"

    def with_smaller_tiles(self) -> _Attempt:
        """Half the tile along each axis, down to `SMALLEST_TILE`."""
        k, j, i = (min(size, max(SMALLEST_TILE, size // 2)) for size in self.tile)
        return replace(self, tile=(k, j, i), stage=SMALLER_TILES)


class Gather(Protocol):
    """What becomes of the logits, slab by slab along an axis (see `slabs_of_logits`)."""

    def add(self, sums: Tensor, weights: Tensor | None) -> None:
        """The next planes: sums of logits times weights (outputs, planes, ...), and the weights
        (planes, ...); or logits and None.
        """


SomeGather = TypeVar("SomeGather", bound=Gather)
# (voxels (k, j, i) of the image, axis of the slabs, device) -> what gathers its logits
MakeGather: TypeAlias = Callable[[Triple, int, torch.device], SomeGather]


def predict(
    network: nn.Module,
    array: Array,
    device: torch.device,
    window: Triple = WINDOW,
    overlap: float = 0.5,
    progress: Report | None = None,
    precision: str = FP32,
) -> NDArray[np.float32]:
    """Logits of a prepared array.

    array: float32 [k, j, i], or [c, k, j, i] of several channels. Returns float32 [outputs, k, j,
    i]. An array no larger than `window` goes through whole. A larger one goes through in windows
    with Gaussian weights (`windows`); the result is gathered in the computer's memory whatever the
    device. An axis shorter than the window is taken as it is. `progress` is called before each
    window, and may raise `Cancelled`. precision: "fp32" or "bf16", of the network's own arithmetic.

    Where the device's memory runs out, everything is done again with half the window, down to 32
    voxels an axis, and then on the CPU; the stage is then `SMALLER_TILES` or `ON_CPU`. Where the
    device lacks an operation, the CPU takes over at once (`LACKING`). Afterwards the network is on
    ``device`` again.
    """
    run = Run(network, array, device, window, overlap, Progress.of(progress), precision)
    gathered = run.gathered(lambda shape, axis, _: _AllLogits(shape, axis))
    return gathered.logits.numpy()


def predict_scores(
    network: nn.Module,
    array: Array,
    device: torch.device,
    window: Triple,
    *,
    reading: Reading,
    reach: Triple,
    progress: Report | None = None,
    precision: str = FP32,
) -> Scores:
    """As `predict`, but only what the way back needs: see `Scores`. All stays on the device."""
    run = Run(network, array, device, window, 0.5, Progress.of(progress), precision)
    gather = run.gathered(lambda *grid: ScoresGather(reading, reach, *grid))
    return gather.finish()


@dataclass(frozen=True, eq=False)
class Run:
    """One array that goes through a network, by whatever attempts it takes; see `predict`."""

    network: nn.Module
    array: Array
    device: torch.device
    window: Triple
    overlap: float
    progress: Progress
    precision: str

    def gathered(self, make_gather: MakeGather[SomeGather]) -> SomeGather:
        """A new gather that has all the logits."""
        full_tile = _tile(self.window, self.array.shape[-3:])
        attempt = _Attempt(self.device, full_tile)
        while True:
            try:
                gather = self._try(attempt, make_gather)
                self.network.to(self.device)  # a training goes on there
                return gather
            except RuntimeError as error:
                following = _next_attempt(attempt, error, full_tile)
                if following is None:
                    raise
            # The error's traceback holds tensors, so their memory can only be freed here.
            free_memory(attempt.device)
            attempt = following

    @torch.inference_mode()
    def _try(self, attempt: _Attempt, make_gather: MakeGather[SomeGather]) -> SomeGather:
        network = self.network.to(attempt.device)
        k, j, i = self.array.shape[-3:]
        image = torch.from_numpy(np.ascontiguousarray(self.array))
        image = image.reshape(1, -1, k, j, i).to(attempt.device)  # (1, C, K, J, I)
        plan = WindowPlan.of((k, j, i), attempt.tile, self.overlap)

        def call(window: Tensor) -> Tensor:
            return float32_logits(network, window, self.precision)

        if plan.count == 1:
            self.progress(attempt.stage, 0.0)
            gather = make_gather(plan.shape, 0, attempt.device)
            with layer_progress(network, lambda done: self.progress(attempt.stage, done)):
                for logits in logit_slabs(network, image, self.precision):
                    gather.add(logits, None)
            return gather
        gather = make_gather(plan.shape, plan.axis, attempt.device)
        slabs = slabs_of_logits(
            call, image, plan, lambda done: self.progress(attempt.stage, done / plan.count)
        )
        for sums, weights in slabs:
            gather.add(sums, weights)
        return gather


class _AllLogits:
    """Holds all logits, in the computer's memory."""

    def __init__(self, shape: Triple, axis: int):
        self.shape, self.axis, self._seen = shape, axis, 0
        self.logits = torch.empty(0)

    def add(self, sums: Tensor, weights: Tensor | None) -> None:
        """See `Gather`."""
        if weights is None and sums.shape[1] == self.shape[self.axis]:
            self.logits = sums.cpu()
            return
        if not self._seen:
            self.logits = torch.empty((len(sums), *self.shape))
        planes = slice(self._seen, self._seen + sums.shape[1])
        logits = sums if weights is None else sums / weights
        self.logits.movedim(self.axis + 1, 1)[:, planes] = logits.cpu()
        self._seen = planes.stop


def _tile(window: Triple, shape: tuple[int, ...]) -> Triple:
    """The window, no larger than the array along any axis."""
    k, j, i = (min(size, length) for size, length in zip(window, shape, strict=True))
    return k, j, i


def _next_attempt(attempt: _Attempt, error: RuntimeError, full_tile: Triple) -> _Attempt | None:
    """What to try after an error; None where nothing else would help."""
    on_cpu = attempt.device.type == "cpu"
    if lacks_operation(error) and not on_cpu:
        return replace(attempt, device=torch.device("cpu"), stage=LACKING)
    if not is_out_of_memory(error):
        return None
    smaller = attempt.with_smaller_tiles()
    if smaller.tile != attempt.tile:
        return smaller
    cpu = torch.device("cpu")
    return None if on_cpu else replace(attempt, device=cpu, tile=full_tile, stage=ON_CPU)


def free_memory(device: torch.device) -> None:
    """Release the GPU memory that torch holds in its cache."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
