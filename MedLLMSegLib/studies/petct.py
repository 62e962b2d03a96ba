"""What does a PET add to a CT? Sarcomas outlined from the CT alone, the PET alone, and both.

    python -m MedLLMSegLib.data.sts_petct --data ../shared/data/sts_petct --output runs/sts
    python -m MedLLMSegLib.data.sts_petct --data ../shared/data/sts_petct \\
        --output runs/sts-shifted --shift
    python -m MedLLMSegLib.studies.petct --data runs/sts-shifted --output runs/petct
    python -m MedLLMSegLib.studies.petct --data runs/sts --output runs/petct

Folds over the patients; in each the three networks are trained alike, from nothing, with the same
steps, samples, optimiser and rate. Beside them stand an ellipsoid that never sees the image, and a
threshold on the PET. It can be stopped at any moment, and goes on. Writes docs/petct.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.core.types import Array, Json, Triple
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import Case, CaseSet, folds, read_cases, read_label_map
from MedLLMSegLib.metrics.overlap import dice
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.registry.input_channels import InputChannel
from MedLLMSegLib.registry.network_config import OURS, NetworkConfig
from MedLLMSegLib.segmentation.inference import predict
from MedLLMSegLib.segmentation.prepare import Preparation, checked_whole_grid, prepare
from MedLLMSegLib.segmentation.restore import restore, softmax
from MedLLMSegLib.training.checkpoint import fill_best
from MedLLMSegLib.training.devices import make_fabric
from MedLLMSegLib.training.segmenter.case_recipe import case_trainer
from MedLLMSegLib.training.segmenter.samples.augmentation import VolumeAugmentation
from MedLLMSegLib.training.segmenter.samples.prepared_cases import prepare_case, read_image
from MedLLMSegLib.training.segmenter.train_config import TrainConfig

from .petct_page import ARMS, RESULTS, write_page
from .petct_picture import outline_picture
from .study.command import do_study, guarded
from .study.part_options import add_part_options
from .study.results import StudyResults
from .study.runs import Run
from .study.study import Study, Task

# Soft tissue and fat; what is warm in a body, to hot. Not chosen on any case.
CHANNELS = (
    InputChannel("ct", "CT", "HU", (-150.0, 250.0, 40.0, 70.0)),
    InputChannel("pet", "PT", "SUV", (0.0, 20.0, 2.0, 3.0)),
)
# Arm -> which channels its network sees.
SEES = {"ct": [0], "pet": [1], "both": [0, 1]}
THRESHOLD = 0.41  # of the highest SUV of the crop (EANM's guideline for FDG PET, 2.0)
NETWORK = replace(
    OURS, classes=2, stem_channels=(8, 24, 32), width=48, heads=4, depth=2, dropout=0.1, llm=None
)
# Patients lie in every way, and a sarcoma is bound to no side.
AUGMENTATION = VolumeAugmentation(elastic=0.0, flips=(0, 1, 2))


@dataclass(eq=False)
class PetCt:
    """The arms on one data set. spacing_mm: of the networks' grid. train: of every arm."""

    case_set: CaseSet
    spacing_mm: float
    train: TrainConfig
    count: int
    output: Path
    network: NetworkConfig = NETWORK

    @cached_property
    def fabric(self):
        return make_fabric("cpu", self.train.precision)

    @cached_property
    def preparation(self) -> Preparation:
        return Preparation((self.spacing_mm,) * 3, channels=CHANNELS)

    @cached_property
    def splits(self) -> list[dict[str, tuple[Case, ...]]]:
        return folds(self.case_set, self.count)

    @cached_property
    def prepared(self) -> dict[str, Json]:
        """Case -> what `prepare_case` makes of it, with both channels."""
        return {
            case.id: prepare_case(case, self.case_set, self.preparation)
            for case in self.case_set.cases
        }

    def settings(self) -> Json:
        """What all runs share, as JSON gives it back."""
        settings = {
            "spacing_mm": self.spacing_mm,
            "window": list(self.train.window),
            "steps": self.train.steps,
            "batch": self.train.batch,
            "optimiser": self.train.optimiser,
            "lr": self.train.lr,
            "precision": self.train.precision,
            "channels": {channel.name: list(channel.grey or ()) for channel in CHANNELS},
            "network": self.network.to_dict(),
            "folds": [
                {part: [case.id for case in cases] for part, cases in split.items()}
                for split in self.splits
            ],
        }
        stored: Json = json.loads(json.dumps(settings))
        return stored

    def work(self, task: Task) -> Json:
        """Do an arm's part of a fold, and measure it on the fold's test cases."""
        split = self.splits[int(task.run.data)]
        if task.run.arm == "ellipsoid":
            margins = mean_margins([self._truth(case) for case in split["train"]])
            return {"dice": self._measured(split["test"], lambda image: ellipsoid(image, margins))}
        if task.run.arm == "threshold":
            return {"dice": self._measured(split["test"], hot_voxels)}
        return self._trained(task, split)

    def _trained(self, task: Task, split: dict[str, tuple[Case, ...]]) -> Json:
        sees = SEES[task.run.arm]
        seed = int(task.run.data)
        network = self.new_network(task.run.arm, seed)
        train, val = (
            [seen_by(self.prepared[case.id], sees) for case in split[part]]
            for part in ("train", "val")
        )
        trainer = case_trainer(
            network,
            2,
            replace(self.train, seed=seed),
            train,
            val,
            task.folder,
            {"settings": self.settings(), "run": task.run.name},
            fabric=self.fabric,
        )
        trained = trainer.run(task.progress.part(0.0, 0.9))
        fill_best(network, task.folder)
        network.eval()

        def outlined(image: Volume) -> Array:
            return self.outlined(network, image, task.run.arm)

        return {
            "val_dice": round(trained.best_score, 5),
            "training_seconds": trained.seconds,
            "parameters": count_parameters(network)["trained"],
            "dice": self._measured(split["test"], outlined),
        }

    def new_network(self, arm: str, seed: int) -> nn.Module:
        """An arm's network with its seed's first weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_network(replace(self.network, in_channels=len(SEES[arm])))

    def _truth(self, case: Case) -> Volume:
        image = read_image(case, self.case_set, CHANNELS)
        return image.with_array(read_label_map(case, self.case_set, image))

    def _measured(self, cases, outlined) -> dict[str, float]:
        """Case -> Dice of the tumour on the scan's own grid. outlined: image -> bool [k, j, i]."""
        found = {}
        for case in cases:
            image = read_image(case, self.case_set, CHANNELS)
            truth = read_label_map(case, self.case_set, image)
            found[case.id] = round(float(dice(outlined(image).astype(np.uint8), truth, 1)), 5)
        return found

    def outlined(self, network: nn.Module, image: Volume, arm: str) -> Array:
        """What an arm's network outlines, bool [k, j, i] on the scan's own grid."""
        grid = checked_whole_grid(image, self.preparation)
        array, way_back = prepare(image, grid, *self.preparation.scales)
        seen = array[SEES[arm]]
        logits = predict(network, seen, self.fabric.device, self.train.predict_window)
        probabilities, _ = restore(softmax(logits), way_back)
        outlined: Array = probabilities[1] > probabilities[0]
        return outlined

    def study(self, results: StudyResults) -> Study:
        """All arms of a fold come before the next fold."""
        results.begin(self.settings())
        runs = [Run(arm, 0, str(fold)) for fold in range(self.count) for arm in ARMS]
        return Study(runs, self.work, self.output, results, self.settings())


def seen_by(case: Json, sees: list[int]) -> Json:
    """A prepared case with some of its channels."""
    return case | {"image": case["image"][sees]}


def hot_voxels(image: Volume) -> Array:
    """Voxels of at least `THRESHOLD` of the highest SUV, bool [k, j, i]."""
    pet = image.array[1]
    hot: Array = pet >= THRESHOLD * pet.max()
    return hot


def mean_margins(truths: list[Volume]) -> Array:
    """(3, 2) mm: how far the tumour lies from the low and the high face along (k, j, i), in the
    mean of some patients.
    """
    each = []
    for truth in truths:
        places = np.argwhere(truth.array > 0)
        spacing = np.array(truth.spacing_mm)
        after = (np.array(truth.array.shape) - 1 - places.max(0)) * spacing
        each.append(np.stack([places.min(0) * spacing, after], axis=1))
    mean: Array = np.mean(each, axis=0)
    return mean


def ellipsoid(image: Volume, margins_mm: Array) -> Array:
    """The ellipsoid that fills a crop but for the margins; of the image its size alone is used."""
    shape, spacing = np.array(image.grid.shape), np.array(image.spacing_mm)
    low = margins_mm[:, 0] / spacing
    high = shape - 1 - margins_mm[:, 1] / spacing
    # to the faces of the outermost voxels
    middle, radii = (low + high) / 2, np.maximum((high - low + 1) / 2, 1.0)
    axes = np.ogrid[tuple(slice(n) for n in image.grid.shape)]
    distance = sum(((a - m) / r) ** 2 for a, m, r in zip(axes, middle, radii, strict=True))
    inside: Array = np.asarray(distance) <= 1
    return inside


def plan(
    data: Path,
    output: Path,
    *,
    spacing: float = 7.0,
    window: Triple = (24, 24, 24),
    steps: int = 200,
    count: int = 5,
    precision: str = "bf16",
    network: NetworkConfig = NETWORK,
) -> PetCt:
    """The study of a folder that `data.sts_petct` wrote. Raises `UserError`."""
    train = TrainConfig(
        steps=steps,
        batch=2,
        optimiser="muon",
        lr=1e-2,
        window=window,
        predict_window=(64, 64, 64),
        augmentation=AUGMENTATION,
        noise_fraction=0.0,
        precision=precision,
        warmup_steps=max(1, steps // 20),
        validate_every=max(1, steps // 4),
        ema=min(0.99, 1 - 20 / max(40, steps)),
        checkpoint_s=60.0,
    )
    case_set = replace(read_cases(data), splits=None)
    return PetCt(case_set, spacing, train, count, output / data.name, network)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="a folder that MedLLMSegLib.data.sts_petct wrote")
    add("--output", type=Path, default=Path("runs/petct"))
    add("--docs", type=Path, default=Path("docs"))
    add("--spacing", type=float, default=7.0, metavar="MM")
    add("--steps", type=int, default=200)
    add("--folds", type=int, default=5)
    add("--precision", default="bf16")
    add("--threads", type=int, help="of the processor (default: all cores)")
    add_part_options(parser)
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    petct = plan(
        options.data,
        options.output,
        spacing=options.spacing,
        steps=options.steps,
        count=options.folds,
        precision=options.precision,
    )
    results = StudyResults(options.docs / RESULTS, options.data.name)
    study = petct.study(results)

    def page() -> str:
        if options.data.name == "sts-shifted":
            outline_picture(petct, study.results.runs, options.docs)
        return str(write_page(results.path, options.docs))

    do_study(study, options, page)


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe; returns 2 where something is wrong with them."""
    return guarded(_parser(), "MedLLMSegLib.studies.petct", arguments, _run)


if __name__ == "__main__":
    sys.exit(main())
