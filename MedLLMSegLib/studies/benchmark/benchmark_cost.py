"""Time and memory of an arm: a few training steps in a process of its own, so that no other arm's
memory counts.

Run as ``python -m MedLLMSegLib.studies.benchmark.benchmark_cost SETTINGS NETWORK ARM PRECISION
STEPS``; it prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.memory import peak_memory_mb
from MedLLMSegLib.core.processor import processor_name
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.studies.study.cost import in_own_process, median_seconds
from MedLLMSegLib.studies.study.settings import SETTINGS, record_settings
from MedLLMSegLib.training.optimiser import make_optimiser
from MedLLMSegLib.training.segmenter.losses import SegmentationLoss

from .benchmark_plan import (
    BenchmarkSettings,
    complete_settings,
    network_and_arm,
    planned,
    run_of,
)
from .benchmark_results import BenchmarkResults
from .benchmark_runner import build_network_of

MODULE = "MedLLMSegLib.studies.benchmark.benchmark_cost"
STEPS, CROPS, ROUNDS = 3, 12, 5
MEMORY_OF = (("ours", "F"), ("dynunet", "J"), ("paper", "F"))


def measure_arms(
    results: BenchmarkResults,
    settings: BenchmarkSettings,
    output: Path,
    progress: Report | None = None,
) -> None:
    """Time and memory of every arm of the plan, in rounds of fresh processes so that a busy
    machine treats all alike.
    """
    arms = list(dict.fromkeys(network_and_arm(run) for run in planned(settings)))
    jobs = [(*arm, settings.train.precision) for arm in arms]
    found = _in_rounds(settings, output, jobs, ROUNDS, progress)
    precision = settings.train.precision
    results.put("measured", {"-".join(arm): found[*arm, precision] for arm in arms})


def measure_memory(
    results: BenchmarkResults,
    settings: BenchmarkSettings,
    output: Path,
    progress: Report | None = None,
) -> None:
    """What autocast saves: peak memory of training in fp32 and in bf16."""
    jobs = [(*arm, precision) for arm in MEMORY_OF for precision in ("fp32", "bf16")]
    found = _in_rounds(settings, output, jobs, 1, progress)
    each = {"-".join(arm): {p: found[*arm, p] for p in ("fp32", "bf16")} for arm in MEMORY_OF}
    results.put("memory", each)


def _in_rounds(
    settings: BenchmarkSettings,
    output: Path,
    jobs: list[tuple],
    rounds: int,
    progress: Report | None,
) -> dict:
    """Each job's median over the rounds, and under "rounds" what a crop took in each. All of one
    round before the next begins.
    """
    path = Path(output) / SETTINGS
    record_settings(settings.to_dict(), path, complete_settings)
    seen: dict[tuple, list[dict]] = {job: [] for job in jobs}
    for n in range(rounds):
        for m, job in enumerate(jobs):
            if progress:
                progress(
                    f"measuring {' '.join(job)}, round {n + 1} of {rounds}",
                    (n * len(jobs) + m) / (rounds * len(jobs)),
                )
            seen[job].append(_in_own_process(path, job))
    return {
        job: (
            {
                key: (
                    float(np.median([one[key] for one in all_]))
                    if isinstance(value, float)
                    else value
                )
                for key, value in all_[0].items()
            }
            | {"rounds": [one["inference_cpu_seconds"] for one in all_]}
        )
        for job, all_ in seen.items()
    }


def _in_own_process(settings_path: Path, job: tuple) -> dict:
    arguments = [str(settings_path), *job, str(STEPS)]
    return in_own_process(MODULE, arguments, " ".join(job))


def measured(
    settings: BenchmarkSettings, network_name: str, arm: str, precision: str, steps: int
) -> dict:
    """One arm on random data, on the CPU: medians over `steps` training steps and `CROPS` crops,
    the first of each left out.
    """
    before = peak_memory_mb()
    network = build_network_of(
        settings, run_of(network_name, arm, settings.percents[0], settings.seeds[0])
    )
    train, loss_of = settings.train, SegmentationLoss()
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = make_optimiser(train.optimiser, trained, train.lr, train.weight_decay)
    average = [p.detach().clone() for p in trained]  # as a training holds one
    generator = torch.Generator().manual_seed(0)
    image = torch.randn((train.batch, 1, *train.window), generator=generator)
    label = torch.randint(settings.structures + 1, image.shape, generator=generator).float()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(image)
        loss_of(logits, label).backward()
        torch.nn.utils.clip_grad_norm_(trained, train.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        for kept, now in zip(average, trained, strict=True):
            kept.lerp_(now.detach(), 1 - train.ema)

    network.train()
    of_step = median_seconds(step, steps)
    peak = peak_memory_mb()
    network.eval()
    with torch.inference_mode():
        of_crop = median_seconds(lambda: network(image[:1]), CROPS)
    return {
        "step_seconds": of_step.wall,
        "step_cpu_seconds": of_step.processor,
        "peak_mb": peak,
        "before_mb": before,
        "inference_seconds": of_crop.wall,
        "inference_cpu_seconds": of_crop.processor,
        "parameters": count_parameters(network),
        "machine": f"{torch.get_num_threads()} threads of {processor_name()}",
    }


if __name__ == "__main__":
    _path, _network, _arm, _precision, _steps = sys.argv[1:]
    _settings = BenchmarkSettings.from_dict(json.loads(Path(_path).read_text(encoding="utf-8")))
    print(json.dumps(measured(_settings, _network, _arm, _precision, int(_steps))))
