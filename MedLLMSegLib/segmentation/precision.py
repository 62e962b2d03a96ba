"""The precision a network runs in: fp32, or bf16 where the CPU has it and the labels agree.

bf16 has the range of float32, with 8 bits of fraction instead of 24. Processors with instructions
for it run convolutions and matrix products about twice as fast. Whether a network's labels stay
the same is measured once for a model, a processor and a version of torch, and kept in the cache
folder. fp16 is never used on a CPU: its range is too small for activations.

Who calls a network does it so:

    precision = model.precision_for(array, window).name  # once a scan
    logits = float32_logits(network, image, precision)  # for each window

and for a network that is in no model: `decide(NetworkInUse(network, device, ...), array, window)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError, error_in_short
from MedLLMSegLib.core.memory import is_out_of_memory
from MedLLMSegLib.core.processor import is_arm
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.types import Array, Triple
from MedLLMSegLib.engines.engine_names import ONNX, TORCH
from MedLLMSegLib.engines.engine_network import EngineNetwork
from MedLLMSegLib.engines.graph import BF16, FP32

from .kept_precision import NOT_KEPT, Precision, can_keep, keep, read_kept

AUTO = "auto"
REQUESTS = (AUTO, FP32, BF16)

# Measured on all 52 test cases of the two models that ship, with the inputs and weights of every
# layer rounded to fewer and fewer bits: at a mean agreement of 0.995 and 0.996 Dice moved by 0.0001
# in the mean, at 0.989 and 0.993 by 0.0007 and 0.0002, at 0.977 and 0.986 by 0.0033 and 0.0004. In
# bf16 the least agreement of a case is 0.9985.
LEAST_AGREEMENT = 0.99
LEAST_SPEED = 1.1  # a guess: below it, other work on the machine decides what is measured
LEAST_FOREGROUND_VOX = 500  # a guess: then 5 voxels make the difference
# Of an axis: larger windows would tell the same, and take time and memory four times over.
LARGEST_PROBE_VOX = 128
NOTHING_FOUND = "The model finds too little in this scan to compare fp32 with bf16."
MOST_PROBES = 3  # windows in which something is looked for
REPEATS = 2  # of each timing; the first one allocates memory


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which a network is called; nothing for "fp32".

    precision: "fp32" or "bf16", the name of a `Precision`.
    """
    if precision == FP32:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def float32_logits(network: nn.Module, image: Tensor, precision: str) -> Tensor:
    """The logits of an image, float32 whatever the precision: softmax and labels need that.

    image: (B, C, k, j, i). precision: "fp32" or "bf16".
    """
    if isinstance(network, EngineNetwork):
        return network.logits_in(image, precision)
    with autocast(image.device, precision):
        logits = network(image)
    return logits.float()  # type: ignore[no-any-return]


@runtime_checkable
class MakesSlabs(Protocol):
    """A network that need not hold the logits of a whole image."""

    def logit_slabs(self, image: Tensor) -> Iterator[Tensor]:
        """image (1, C, k, j, i) -> its logits (1, classes, planes, j, i), slab by slab along k."""


def logit_slabs(network: nn.Module, image: Tensor, precision: str) -> Iterator[Tensor]:
    """As `float32_logits`, (C, planes, j, i) of one image, slab by slab along k: as many as the
    network makes.

    image: (1, C, k, j, i).
    """
    if isinstance(network, EngineNetwork):
        yield from (slab[0] for slab in network.slabs_in(image, precision))
        return
    whole = (network(image) for _ in range(1))  # not called before it is in the right context
    slabs = network.logit_slabs(image) if isinstance(network, MakesSlabs) else whole
    while True:
        with autocast(image.device, precision):
            slab = next(slabs, None)
        if slab is None:
            return
        yield slab[0].float()


def winning_class(logits: Tensor) -> Tensor:
    """(1, classes, k, j, i) -> the class of each voxel (1, k, j, i)."""
    return logits.max(dim=1).indices


@dataclass(eq=False)
class NetworkInUse:
    """A network whose precision is to be decided.

    requested: one of `REQUESTS`. sha256: of the measured model. labels: float32 logits (1, outputs,
    k, j, i) -> labels (1, k, j, i), 0 for the background; for a network that has other outputs than
    classes. decided: the decision, from when it is known.
    """

    network: nn.Module
    device: torch.device
    requested: str
    sha256: str
    labels: Callable[[Tensor], Tensor] = winning_class
    decided: Precision | None = None

    def settled(self) -> Precision | None:
        """The precision as far as it is known without a scan; None where it is to be measured."""
        if self.decided is None:
            self.decided = self._known()
        return self.decided

    @property
    def engine(self) -> str:
        """What runs the network; see `engines.engine_names`."""
        return self.network.engine if isinstance(self.network, EngineNetwork) else TORCH

    def _known(self) -> Precision | None:
        check_precision(self.requested, self.engine)
        if self.engine == ONNX:
            return Precision(FP32, "ONNX Runtime computes in fp32 on a CPU.")
        if self.requested != AUTO:
            return Precision(self.requested, f"{self.requested} was asked for.")
        if self.device.type != "cpu":
            return Precision(FP32, "Outside of a CPU, bf16 is used where it is asked for.")
        if not cpu_has_bf16():
            return Precision(FP32, "This processor has no instructions for bf16.")
        kept = read_kept(self.sha256, self.engine)
        if kept is None and not can_keep():
            return Precision(FP32, NOT_KEPT)
        return kept


def check_precision(requested: str, engine: str = TORCH) -> None:
    """Raise `UserError` for what is not one of `REQUESTS`, or is nothing that the engine has."""
    if requested not in REQUESTS:
        raise UserError(f'"{requested}" is not a precision; use auto, fp32 or bf16.')
    if engine == ONNX and requested == BF16:
        raise UserError(
            "ONNX Runtime computes in fp32 on a CPU, and bf16 was asked for; use the engine"
            " openvino, or leave the precision out."
        )


def decide(
    subject: NetworkInUse, array: Array, window: Triple, progress: Report | None = None
) -> Precision:
    """The precision for a network, measured where that was not done before.

    array: float32 [k, j, i] or [c, k, j, i], the scan as the network gets it. window: (k, j, i)
    voxels that it gets at once. progress: called before each measurement with ("segment", 0.0), and
    may raise `Cancelled`.

    What is measured is a window of a real scan, because random noise has no foreground, and labels
    differ at the borders of structures alone. It is the window nearest to the scan's middle in
    which fp32 finds `LEAST_FOREGROUND_VOX` voxels. Where there is none, fp32 is used, and the next
    scan decides.
    """
    known = subject.settled()
    if known is not None:
        return known
    k, j, i = (min(length, LARGEST_PROBE_VOX) for length in window)
    subject.network.to(subject.device)
    measured = _measure(subject, _probes(array, (k, j, i)), Progress.of(progress))
    if measured is None:
        return Precision(FP32, NOTHING_FOUND)
    subject.decided = keep(measured, subject.sha256, subject.engine)
    return subject.decided


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies matrices of bf16 itself; where torch cannot tell, it does not.

    On x86 that is AVX512-BF16 or AMX. oneDNN's own check is no help there: AVX512 is enough for
    it, and without further instructions it works bf16 out in software. On ARM it is exact.
    """
    if is_arm():
        check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return bool(check and check())
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    checks = (getattr(torch.cpu, name, None) for name in names)
    return any(check() for check in checks if check)


def _probes(array: Array, window: Triple) -> Iterator[Tensor]:
    """Windows (1, C, k, j, i) side by side over the scan, from its middle outwards."""
    channels = array.reshape(-1, *array.shape[-3:])  # (C, K, J, I)
    shape = channels.shape[1:]
    sizes = [min(size, length) for size, length in zip(window, shape, strict=True)]
    starts = product(*map(_starts, shape, sizes))
    middle = (np.array(shape) - sizes) / 2

    def distance(start: tuple[int, ...]) -> float:
        return float(np.linalg.norm(start - middle))

    for start in sorted(starts, key=distance)[:MOST_PROBES]:
        box = tuple(slice(low, low + size) for low, size in zip(start, sizes, strict=True))
        yield torch.from_numpy(np.ascontiguousarray(channels[(slice(None), *box)]))[None]


def _starts(length: int, size: int) -> list[int]:
    """First voxels of windows that cover an axis; one of an odd number lies in the middle."""
    count = -(-length // size)
    count += 1 - count % 2
    return sorted({round((length - size) * n / max(1, count - 1)) for n in range(count)})


def _measure(
    subject: NetworkInUse, probes: Iterator[Tensor], progress: Progress
) -> Precision | None:
    """The decision by the first window in which there is something; None where there is none, or
    too little memory for a whole window.
    """

    def run(window: Tensor, precision: str) -> tuple[Tensor, float]:
        progress("segment", 0.0)
        return _labels_and_seconds(subject, window, precision)

    try:
        for window in probes:
            plain = run(window, FP32)
            if int((plain[0] > 0).sum()) >= LEAST_FOREGROUND_VOX:
                return _compare(plain, partial(run, window))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return None


@torch.inference_mode()
def _labels_and_seconds(
    subject: NetworkInUse, window: Tensor, precision: str
) -> tuple[Tensor, float]:
    """(labels (1, k, j, i), processor time) of a window; -1 where a logit is no number."""
    began = time.process_time()
    logits = float32_logits(subject.network, window, precision)
    seconds = time.process_time() - began
    labels = subject.labels(logits).long()
    labels[~logits.isfinite().all(dim=1)] = -1
    return labels, seconds


def _compare(plain: tuple[Tensor, float], run: Callable[[str], tuple[Tensor, float]]) -> Precision:
    """bf16 against what fp32 gave.

    plain: labels and processor time of fp32. run: the same of a precision, measured now.
    """
    try:
        rounded = run(BF16)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return Precision(FP32, f"The model does not run in bf16 ({error_in_short(error)}).")
    agreement = label_agreement(plain[0], rounded[0])
    if agreement < LEAST_AGREEMENT:
        why = f"{agreement:.2%} of the labels agree between fp32 and bf16, which is too few."
        return Precision(FP32, why, agreement)
    plain_s, rounded_s = [plain[1]], [rounded[1]]
    for _ in range(REPEATS - 1):
        plain_s.append(run(FP32)[1])
        rounded_s.append(run(BF16)[1])
    speed = min(plain_s) / max(min(rounded_s), 1e-9)
    name = BF16 if speed >= LEAST_SPEED else FP32
    why = f"bf16 takes 1/{speed:.1f} of the time, and {agreement:.2%} of the labels agree."
    return Precision(name, why, agreement, speed)


def label_agreement(first: Tensor, second: Tensor) -> float:
    """Share of equal labels among the voxels that either calls foreground; 1 where none does."""
    foreground = (first > 0) | (second > 0)
    count = int(foreground.sum())
    return float((first == second)[foreground].sum()) / count if count else 1.0
