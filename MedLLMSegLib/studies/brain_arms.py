"""What tokens and the frozen block give the brain model: four arms, several seeds, an equal budget.

    python -m MedLLMSegLib.studies.brain_arms --data ../shared/data/brain_labelmaps \\
        --output runs/brain-arms --steps 600 --seeds 3 --threads 1

It can be stopped at any moment and continues where it was. Several processes may share the work on
one folder, each with --only; the table is of what is finished.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
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

ARMS = {
    "none": "no tokens",
    "A": "tokens, no block",
    "D": "frozen random block",
    "F": "frozen pretrained block",
}
DECAY = 0.3  # of the budget: a short training that ends, ends at a low rate
NEAR = 0.005  # the pretrained block ships where it is as near to the best arm as this
RESULT, TABLE = "result.json", "arms.md"


@dataclass(frozen=True)
class ArmRun:
    """One training: an arm and a seed, of its weights and its samples."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.seed}"


def run(
    request: BrainRequest,
    seeds: int,
    only: str = "*",
    progress: Report | None = None,
    *,
    device: str = "auto",
    config: NetworkConfig = BRAIN,
    maps: HeadMaps | None = None,
) -> dict[str, Json]:
    """Train what is not finished yet; returns run's name -> result of all that are finished.

    request: what all runs share; its output is the folder of their folders. only: of the runs'
    names. The arms of a seed come before the next seed.
    """
    output, report = Path(request.output), Progress.of(progress)
    runs = [ArmRun(arm, seed) for seed in range(seeds) for arm in ARMS]
    chosen = [one for one in runs if fnmatch.fnmatchcase(one.name, only)]
    if not chosen:
        raise UserError(f'No run is called "{only}"; they are {", ".join(r.name for r in runs)}.')
    for one, part in zip(chosen, report.parts(len(chosen)), strict=True):
        folder = output / one.name
        if (folder / RESULT).exists():
            continue
        maps = maps or read_maps(request.source, report.part(0.0, 0.0))
        own = replace(request, arm=one.arm, seed=one.seed, output=str(folder), decay=DECAY)
        told = part.part(0.0, 1.0, f"{one.name}: {{}}")
        train_brain(own, device, told, _ignore, config=config, maps=maps)
        write_text(folder / RESULT, json.dumps({"budget": _budget(request), **_result(folder)}))
    results = {r.name: _read(output / r.name) for r in runs if _finished(output / r.name)}
    _refuse_unequal(results, _budget(request))
    write_text(output / TABLE, table(results, seeds))
    return results


def _ignore(text: str) -> None:
    """The lines that a training prints are not shown."""


def _budget(request: BrainRequest) -> Json:
    return {"steps": request.steps, "minutes": request.minutes, "shape": list(request.shape)}


def _result(folder: Path) -> Json:
    """The score of the averaged weights at the end."""
    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    last = [row for row in history if "val_dice" in row][-1]
    seconds = [row["seconds"] for row in history if "seconds" in row][-1]
    return {"val_dice": last["val_dice"], "steps": last["step"], "seconds": seconds}


def _finished(folder: Path) -> bool:
    return (folder / RESULT).exists()


def _read(folder: Path) -> Json:
    result: Json = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return result


def _refuse_unequal(results: dict[str, Json], budget: Json) -> None:
    other = [name for name, result in results.items() if result["budget"] != budget]
    if other:
        raise UserError(
            f'"{other[0]}" was trained with {results[other[0]]["budget"]}, and {budget} is asked'
            " for; such runs cannot be compared, so choose another --output."
        )


def table(results: dict[str, Json], seeds: int) -> str:
    """The arms' scores as a table of Markdown, and which arm ships by our rule."""
    rows = [
        f"| arm | {' | '.join(f'seed {n}' for n in range(seeds))} | mean |",
        "|---" * (seeds + 2) + "|",
    ]
    means = {}
    for arm, words in ARMS.items():
        scores = [results.get(f"{arm}-{n}", {}).get("val_dice") for n in range(seeds)]
        known = [score for score in scores if score is not None]
        if len(known) == seeds:
            means[arm] = float(np.mean(known))
        cells = [f"{score:.4f}" if score is not None else "" for score in scores]
        mean = f"{means[arm]:.4f}" if arm in means else ""
        rows.append(f"| {arm}: {words} | {' | '.join(cells)} | {mean} |")
    return "\n".join([*rows, "", _verdict(means)]) + "\n"


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
    add("--minutes", type=float, help="of each run, in place of --steps")
    add("--seeds", type=int, default=3)
    add("--only", default="*", metavar="NAMES", help="such as F-0 or *-1")
    add("--shape", type=int, nargs=3, default=BrainRequest.shape)
    add("--precision", choices=("bf16", "fp16", "fp32"))
    add("--threads", type=int, help="of the processor (default: all cores)")
    add("--device", default="auto")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe; returns 2 where something is wrong with them."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    k, j, i = options.shape
    try:
        request = BrainRequest(
            options.data,
            options.output,
            shape=(k, j, i),
            steps=options.steps,
            minutes=options.minutes,
            precision=options.precision,
        )
        results = run(request, options.seeds, options.only, ProgressLog(), device=options.device)
    except Cancelled:
        return 130
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(results, options.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
