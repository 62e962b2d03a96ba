"""Does a U-Net with residual units and attention gates outline as well as nnU-Net's network?

    python -m MedLLMSegLib.studies.unets --data ../shared/data/hippocampus --output runs/unets
    python -m MedLLMSegLib.studies.unets --data runs/acdc --output runs/unets \\
        --spacing 10 2 2 --window 10 80 80

Trains the arms alike, from nothing: the same steps, samples, optimiser and rate. Writes
docs/unets.md, with what was found on each data set; it can be stopped at any moment, and goes on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json, Triple
from MedLLMSegLib.data import CaseSet, read_cases, read_label_map, split_cases
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.networks.segmentation.dynunet import PlannedDynUNet
from MedLLMSegLib.networks.segmentation.fixed_size import swin_unetr, unetr
from MedLLMSegLib.networks.segmentation.gated_unet import GatedResidualUNet
from MedLLMSegLib.segmentation.inference import predict
from MedLLMSegLib.segmentation.prepare import Preparation
from MedLLMSegLib.segmentation.restore import softmax
from MedLLMSegLib.training.checkpoint import fill_best
from MedLLMSegLib.training.devices import PRECISIONS, fastest_precision, make_fabric
from MedLLMSegLib.training.segmenter.case_recipe import case_trainer
from MedLLMSegLib.training.segmenter.samples.prepared_cases import prepare_set
from MedLLMSegLib.training.segmenter.train_config import TrainConfig

from .benchmark.benchmark_plan import with_schedule
from .benchmark.benchmark_runner import label_scan, score
from .study.command import do_study, guarded
from .study.part_options import add_part_options
from .study.results import StudyResults
from .study.runs import Run
from .study.study import Study, Task
from .unets_page import ARMS, gate_picture, write_page

RESULTS = "unets-results.json"


@dataclass(eq=False)
class UNets:
    """The arms on one data set. spacing_mm: of the networks' grid (k, j, i). train: of every arm;
    its seed is the run's.
    """

    case_set: CaseSet
    spacing_mm: tuple[float, float, float]
    train: TrainConfig
    seeds: tuple[int, ...]
    output: Path
    device: str = "cpu"

    @cached_property
    def fabric(self):
        return make_fabric(self.device, self.train.precision)

    @cached_property
    def preparation(self) -> Preparation:
        return Preparation(self.spacing_mm)

    @cached_property
    def cases(self) -> Json:
        """Split -> cases. Raises `UserError` where one is missing."""
        splits = split_cases(self.case_set)
        if not all(splits.get(split) for split in ("train", "val", "test")):
            raise UserError(
                f'"{self.case_set.source}" states no cases to train, choose and test on; the study'
                ' needs "train", "val" and "test" in its splits.json.'
            )
        return splits

    @cached_property
    def prepared(self) -> dict[str, list[dict]]:
        return {
            split: prepare_set(self.cases[split], self.case_set, self.preparation)
            for split in ("train", "val")
        }

    def settings(self) -> Json:
        """What all runs share."""
        return {
            "spacing_mm": list(self.spacing_mm),
            "window": list(self.train.window),
            "steps": self.train.steps,
            "batch": self.train.batch,
            "lr": self.train.lr,
            "precision": self.train.precision,
            "seeds": list(self.seeds),
            "structures": list(self.case_set.labels.values()),
            "cases": {split: [case.id for case in cases] for split, cases in self.cases.items()},
            "groups": {case.id: case.group for case in self.cases["test"]},
        }

    def network(self, arm: str, seed: int) -> nn.Module:
        """An arm's network with its seed's first weights."""
        classes, window = len(self.case_set.labels) + 1, self.train.window
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if arm == "dynunet":
                return PlannedDynUNet(1, classes, window, self.spacing_mm)
            if arm == "unetr":
                return unetr(1, classes, window)
            if arm == "swinunetr":
                return swin_unetr(1, classes)
            gated = arm == "gates"
            return GatedResidualUNet(1, classes, window, self.spacing_mm, gated)

    def work(self, task: Task) -> Json:
        """Train an arm, and test the weights that were best on val."""
        network = self.network(task.run.arm, task.run.seed)
        trainer = case_trainer(
            network,
            len(self.case_set.labels) + 1,
            replace(self.train, seed=task.run.seed),
            self.prepared["train"],
            self.prepared["val"],
            task.folder,
            {"settings": self.settings(), "run": task.run.name},
            fabric=self.fabric,
        )
        trained = trainer.run(task.progress.part(0.0, 0.9))
        fill_best(network, task.folder)
        network.eval()
        if isinstance(network, GatedResidualUNet) and task.run == Run("gates", self.seeds[0]):
            case = self.prepared["val"][0]
            gate_picture(network, case, self.output / f"gates-{self.case_set.source.name}.png")
        return {
            "val_dice": round(trained.best_score, 5),
            "training_seconds": trained.seconds,
            "parameters": count_parameters(network)["trained"],
            "test": self.measured(network, task),
        }

    def measured(self, network: nn.Module, task: Task) -> Json:
        """Test case -> metric -> value of each structure, at the scan's own resolution."""
        device, found = self.fabric.device, {}
        for number, case in enumerate(self.cases["test"]):
            task.progress(f"testing {case.id}", 0.9 + 0.1 * number / len(self.cases["test"]))
            volume = load_volume(case.image)
            labels = label_scan(
                lambda image: softmax(predict(network, image, device, self.train.window)),
                volume,
                self.preparation,
            )
            truth = read_label_map(case, self.case_set, volume)
            structures = len(self.case_set.labels)
            found[case.id] = score(labels, truth, volume.ijk_to_ras, structures)
        return found

    def study(self, results: StudyResults) -> Study:
        """The arms, seed by seed; the two that carry the answer first."""
        results.begin(self.settings())
        runs = [Run(arm, seed) for seed in self.seeds for arm in ARMS]
        return Study(runs, self.work, self.output, results, self.settings())


def plan(
    data: Path,
    output: Path,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    window: Triple = (48, 64, 48),
    steps: int = 600,
    batch: int = 2,
    lr: float = 1e-3,
    seeds: int = 1,
    precision: str | None = None,
    device: str = "cpu",
) -> UNets:
    """The study of a folder of labelled cases with its splits. Raises `UserError`.

    precision: a key of `devices.PRECISIONS`; None for what the device trains fastest in.
    """
    train = TrainConfig(
        batch=batch,
        lr=lr,
        window=window,
        predict_window=window,
        precision=precision or fastest_precision(torch.device(device)),
    )
    train = with_schedule(train, steps)
    case_set = read_cases(data)
    return UNets(case_set, spacing, train, tuple(range(seeds)), output / data.name, device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--output", type=Path, default=Path("runs/unets"))
    add("--docs", type=Path, default=Path("docs"))
    add("--spacing", type=float, nargs=3, default=(1.0, 1.0, 1.0), metavar=("K", "J", "I"))
    add("--window", type=int, nargs=3, default=(48, 64, 48), metavar=("K", "J", "I"))
    add("--steps", type=int, default=600)
    add("--batch", type=int, default=2)
    add("--lr", type=float, default=1e-3)
    add("--seeds", type=int, default=1)
    add("--precision", choices=tuple(PRECISIONS), help="default: what the device is fastest in")
    add("--device", default="cpu")
    add_part_options(parser)
    return parser


def _run(options: argparse.Namespace) -> None:
    unets = plan(
        options.data,
        options.output,
        spacing=tuple(options.spacing),
        window=tuple(options.window),
        steps=options.steps,
        batch=options.batch,
        lr=options.lr,
        seeds=options.seeds,
        precision=options.precision,
        device=options.device,
    )
    results = StudyResults(options.docs / RESULTS, options.data.name)
    study = unets.study(results)

    def page() -> str:
        results.put("command", options.command)
        return str(write_page(results.path, options.docs, unets.output))

    do_study(study, options, page)


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe; returns 2 where something is wrong with them."""
    return guarded(_parser(), "MedLLMSegLib.studies.unets", arguments, _run)


if __name__ == "__main__":
    sys.exit(main())
