"""Where a training runs: one CPU or GPU, several, or many machines, through Lightning Fabric."""

from __future__ import annotations

import logging
import os
import shutil
import sys

import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.segmentation.inference import choose_device
from MedLLMSegLib.segmentation.precision import cpu_has_bf16

MOST_WORKERS = 8  # a guess: a sample takes tens of milliseconds, and so does a step on a fast GPU
SHARED_MEMORY = "/dev/shm"
PRECISIONS = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def make_fabric(device: str = "auto", precision: str | None = None):
    """A launched Fabric. Under `torchrun` or Slurm's `srun` it joins the other processes; else it
    is one process.

    device: as for inference, but that "auto" is never Apple's MPS; "cuda:1" is for one process a
    machine, as several have a GPU each. precision: "bf16" or "fp16" autocast (fp16 on CUDA only),
    or "fp32"; None for the fastest (`fastest_precision`).
    """
    Fabric = _fabric_class()
    chosen = choose_device(device)
    if device == "auto" and chosen.type == "mps":
        # It lacks operations of 3D networks (`inference.lacks_operation`).
        chosen = torch.device("cpu")
    kind = chosen.type
    precision = _checked_precision(precision or fastest_precision(chosen), kind)
    local, nodes = process_counts()
    numbered = kind == "cuda" and chosen.index is not None
    if numbered and local > 1:
        raise UserError(
            f"{local} processes cannot share the device {device}; use --device {kind}, and each"
            " takes its own."
        )
    fabric = Fabric(
        accelerator="gpu" if kind == "cuda" else kind,
        devices=[chosen.index] if numbered else local,  # a list: which; a number: how many
        num_nodes=nodes,
        strategy="ddp" if local * nodes > 1 else "auto",
        precision=PRECISIONS[precision],
    )
    fabric.launch()
    return fabric


def _fabric_class():
    """Lightning's Fabric, from whichever of its two packages is installed."""
    try:
        from lightning.fabric import Fabric
    except ModuleNotFoundError:
        try:
            from lightning_fabric import Fabric
        except ModuleNotFoundError as error:
            raise UserError(
                "Training needs the package lightning-fabric, which is not installed; run "
                '`pip install "medllmseg[train]"`.'
            ) from error
    # It announces every autocast.
    logging.getLogger(Fabric.__module__.split(".fabric")[0]).setLevel(logging.WARNING)
    return Fabric


def _checked_precision(precision: str, kind: str) -> str:
    """kind: of the device, such as "cuda"."""
    if precision not in PRECISIONS:
        raise UserError(f'"{precision}" is not a precision; use one of {", ".join(PRECISIONS)}.')
    if precision == "fp16" and kind != "cuda":
        raise UserError(
            f"fp16 needs a CUDA device, and this training runs on {kind}; use --precision bf16 or"
            " fp32."
        )
    return precision


def precision_of(fabric) -> str:
    """The key of `PRECISIONS` that a Fabric works in."""
    return next(
        name for name, own in PRECISIONS.items() if own == fabric.strategy.precision.precision
    )


def fastest_precision(device: torch.device) -> str:
    """What a device trains fastest in: bf16 where its hardware has it, else fp16 on CUDA and fp32
    on all others.

    A CPU without such instructions works bf16 out in software; docs/train.md says how slowly.
    """
    if device.type == "cuda":
        return (
            "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
        )  # Ampere and later
    return "bf16" if device.type == "cpu" and cpu_has_bf16() else "fp32"


def process_counts() -> tuple[int, int]:
    """How many processes on this machine, and how many machines, as torchrun or Slurm state them
    in the environment.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return 1, 1


def sample_workers(device, batch_bytes: int) -> int:
    """Processes that make samples beside a GPU, so that it need not wait for them; 0 where the CPU
    trains, which is busy itself.

    On Linux only: elsewhere each would get a copy of all cases. batch_bytes: of one process's
    batch, of which each worker keeps up to three in the shared memory; containers often have
    little.
    """
    if device.type != "cuda" or sys.platform != "linux":
        return 0
    cores = len(os.sched_getaffinity(0)) // int(
        os.environ.get("LOCAL_WORLD_SIZE", "1")
    )  # Slurm gives each process its own
    return min(
        MOST_WORKERS, cores, int(shutil.disk_usage(SHARED_MEMORY).free / 2 / (3 * batch_bytes))
    )


def spare_worker() -> int:
    """1 where another core can make samples while this one trains, else 0.

    On Linux only: elsewhere it would get a copy of all that samples are made from.
    """
    return int(sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1)


def is_first_process() -> bool:
    """Whether this is the process that speaks for all, known before (and without) joining the
    others.
    """
    started = process_counts() != (1, 1)
    return not started or int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0
