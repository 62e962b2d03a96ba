"""Where a training runs: one CPU or GPU, several, or many machines, through Lightning Fabric."""
from __future__ import annotations

import logging
import os
import shutil
import sys

from ..errors import UserError
from ..inference import choose_device

MOST_WORKERS = 8  # a guess: a sample takes tens of milliseconds, and so does a step on a fast GPU
SHARED_MEMORY = "/dev/shm"
PRECISIONS = {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}


def make_fabric(device: str = "auto", precision: str = "bf16"):
    """A launched Fabric. Under `torchrun` or Slurm's `srun` it joins the other processes; else it is one process.

    device: as for inference, but that "auto" is never Apple's MPS; "cuda:1" is for one process a machine, as several have a
    GPU each. precision: "bf16" or "fp16" autocast (fp16 on CUDA only), or "fp32".
    """
    try:
        from lightning.fabric import Fabric
    except ModuleNotFoundError:
        try:
            from lightning_fabric import Fabric
        except ModuleNotFoundError as error:
            raise UserError('Training needs the package lightning-fabric, which is not installed; run '
                            '`pip install "medllmseg[train]"`.') from error
    logging.getLogger(Fabric.__module__.split(".fabric")[0]).setLevel(logging.WARNING)  # it announces every autocast
    chosen = choose_device(device)
    kind = chosen.type
    if device == "auto" and kind == "mps":  # it lacks operations of 3D networks (`inference.lacks_operation`)
        kind = "cpu"
    if precision not in PRECISIONS:
        raise UserError(f'"{precision}" is no precision; use one of {", ".join(PRECISIONS)}.')
    if precision == "fp16" and kind != "cuda":
        raise UserError(f"fp16 needs a CUDA device, and this training runs on {kind}; use --precision bf16 or fp32.")
    local, nodes = processes()
    numbered = kind == "cuda" and chosen.index is not None
    if numbered and local > 1:
        raise UserError(f"{local} processes cannot share the device {device}; use --device {kind}, and each takes its own.")
    devices = [chosen.index] if numbered else local  # a list: which; a number: how many
    fabric = Fabric(accelerator="gpu" if kind == "cuda" else kind, devices=devices, num_nodes=nodes,
                    strategy="ddp" if local * nodes > 1 else "auto", precision=PRECISIONS[precision])
    fabric.launch()
    return fabric


def processes() -> tuple[int, int]:
    """How many processes on this machine, and how many machines, as torchrun or Slurm state them in the environment."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return 1, 1


def sample_workers(device, batch_bytes: int) -> int:
    """Processes that make samples beside a GPU, so that it need not wait for them; 0 where the CPU trains, which is busy itself.

    On Linux only: elsewhere each would get a copy of all cases. batch_bytes: of one process's batch, of which each worker keeps
    up to three in the shared memory; containers often have little.
    """
    if device.type != "cuda" or sys.platform != "linux":
        return 0
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # Slurm gives each process its own
    return min(MOST_WORKERS, cores, int(shutil.disk_usage(SHARED_MEMORY).free / 2 / (3 * batch_bytes)))


def first_process() -> bool:
    """Whether this is the process that speaks for all, known before (and without) joining the others."""
    started = processes() != (1, 1)
    return not started or int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0
