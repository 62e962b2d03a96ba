"""What tokens and the frozen block give the brain model: four arms, several seeds, an equal budget.

    python -m MedLLMSegLib.studies.brain_arms --data ../shared/data/brain_labelmaps \\
        --output runs/brain-arms --steps 600 --seeds 3 --threads 1

It can be stopped at any moment and continues where it was. Several processes may share the work on
one folder, each with --only; the table, OUTPUT/arms.md, is of what is finished.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.registry.network_config import BRAIN, NetworkConfig
from MedLLMSegLib.training.checkpoint import HISTORY
from MedLLMSegLib.training.synthesis.train_brain import (
    BrainRequest,
    HeadMaps,
    read_maps,
    train_brain,
)

from .study.command import do_study, guarded
from .study.page import ArmRow, TableForm, arms_table
from .study.part_options import add_part_options
from .study.results import StudyResults
from .study.runs import Run
from .study.study import Study, Task

ARMS = {
    "none": "no tokens",
    "A": "tokens, no block",
    "D": "frozen random block",
    "F": "frozen pretrained block",
}
DECAY = 0.3  # of the budget: a short training that ends, ends at a low rate
NEAR = 0.005  # the pretrained block ships where it is as near to the best arm as this
RESULTS, TABLE = "brain-arms.json", "arms.md"


def brain_study(
    request: BrainRequest,
    seeds: int,
    *,
    device: str = "auto",
    config: NetworkConfig = BRAIN,
    maps: HeadMaps | None = None,
) -> Study:
    """The arms of a seed come before the next seed.

    request: what all runs share; its output is the folder of their folders. maps: those of the
    source, where they have been read already.
    """
    output, known = Path(request.output), {"maps": maps}

    def train(task: Task) -> Json:
        known["maps"] = known["maps"] or read_maps(request.source, Progress())
        run, folder = task.run, task.folder
        own = replace(request, arm=run.arm, seed=run.seed, output=str(folder), decay=DECAY)
        train_brain(own, device, task.progress, _ignore, config=config, maps=known["maps"])
        return _result(folder)

    settings = {"steps": request.steps, "minutes": request.minutes, "shape": list(request.shape)}
    results = StudyResults(output / RESULTS)
    results.begin(settings)
    runs = [Run(arm, seed) for seed in range(seeds) for arm in ARMS]
    return Study(runs, train, output, results, settings)


def _ignore(text: str) -> None:
    """The lines that a training prints are not shown."""


def _result(folder: Path) -> Json:
    """The score of the averaged weights at the end."""
    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    last = [row for row in history if "val_dice" in row][-1]
    seconds = [row["seconds"] for row in history if "seconds" in row][-1]
    return {"val_dice": last["val_dice"], "steps": last["step"], "seconds": seconds}


def page(results: Mapping[str, Json], seeds: int, command: str) -> str:
    """The arms' scores as a table of Markdown, which arm ships by our rule, and how it was made.

    There is no interval, as a run keeps the mean of its few val images alone.
    """
    form = TableForm("mean Dice on the val images", "each seed", 4, ("s a training",))
    rows, means = [], {}
    for arm, words in ARMS.items():
        names = [Run(arm, seed).name for seed in range(seeds)]
        finished = [results[name] for name in names if name in results]
        scores = [result["val_dice"] for result in finished]
        if len(scores) == seeds:
            means[arm] = float(np.mean(scores))
        score = f"{means[arm]:.4f}" if arm in means else ""
        seconds = f"{np.mean([result['seconds'] for result in finished]):.0f}" if finished else ""
        missing = seeds - len(scores)
        rows.append(ArmRow(f"{arm}: {words}", score, scores, missing, [seconds]))
    return f"{arms_table(form, rows)}\n\n{_verdict(means)}\n\nMade by\n\n    {command}\n"


def _verdict(means: dict[str, float]) -> str:
    if len(means) < len(ARMS):
        return f"{len(ARMS) - len(means)} arms are not finished."
    best = max(means, key=lambda arm: means[arm])
    behind = means[best] - means["F"]
    ships = "F" if behind <= NEAR else best
    return (
        f"The best mean is that of {best}; F is {behind:.4f} behind it. {ships} ships: F where it"
        f" is within {NEAR} of the best."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder brain_labelmaps")
    add("--output", required=True)
    add("--steps", type=int, help="of each run")
    add("--run-minutes", type=float, metavar="N", help="of each run, in place of --steps")
    add("--seeds", type=int, default=3)
    add("--shape", type=int, nargs=3, default=BrainRequest.shape)
    add("--precision", choices=("bf16", "fp16", "fp32"))
    add("--threads", type=int, help="of the processor (default: all cores)")
    add("--device", default="auto")
    add_part_options(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe; returns 2 where something is wrong with them."""
    return guarded(_parser(), "MedLLMSegLib.studies.brain_arms", arguments, _run)


def _run(options: argparse.Namespace) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    k, j, i = options.shape
    request = BrainRequest(
        options.data,
        options.output,
        shape=(k, j, i),
        steps=options.steps,
        minutes=options.run_minutes,
        precision=options.precision,
    )
    study = brain_study(request, options.seeds, device=options.device)

    def write_page() -> str:
        text = page(study.results.runs, options.seeds, options.command)
        write_text(study.output / TABLE, text)
        return text

    do_study(study, options, write_page)


if __name__ == "__main__":
    sys.exit(main())
