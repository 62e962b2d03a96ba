"""Two folds over the scans: a network learns in two of them and is tested in the other two."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.registry.network_config import NetworkConfig
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.studies.study.runs import Run
from MedLLMSegLib.studies.study.study import Study, Task
from MedLLMSegLib.training.checkpoint import fill_best
from MedLLMSegLib.training.devices import make_fabric
from MedLLMSegLib.training.trainer import Trainer

from .earlier_weights import take_earlier
from .lung_windows import STEP
from .nodule_recipe import NETWORK, InsertedNodules, NoduleLoop, new_network
from .samples import HU_WINDOWS, WINDOW, Backgrounds
from .scans import Scan, read_scan
from .shapes import NoduleShape, read_shapes
from .trial import Detector, blob_detector, network_detector, tried

ARMS = ("network", "blobs")
# Fold -> the scans that are learnt in; the other fold's are tested. Each has one scan with a
# measured nodule, so that a network meets the other one's density, blur and texture for the first
# time when it is tested.
FOLDS = {
    "0": ("LIDC-IDRI-0001", "Lung_Dx-A0001"),
    "1": ("LIDC-IDRI-0314", "Lung_Dx-A0002"),
}


@dataclass(eq=False)
class Nodules:
    """The study. data: the folder with lung_ct and lidc_nodules. copies: of each tested scan, with
    `each` nodules of every size inserted. weights: an earlier output, whose networks are taken;
    None to train.
    """

    data: Path
    output: Path
    train: NoduleLoop
    copies: int = 3
    each: int = 3
    network: NetworkConfig = NETWORK
    weights: Path | None = None

    @cached_property
    def scans(self) -> dict[str, Scan]:
        names = [name for fold in FOLDS.values() for name in fold]
        return {name: read_scan(self.data / "lung_ct", name) for name in names}

    @cached_property
    def shapes(self) -> dict[str, list[NoduleShape]]:
        return read_shapes(self.data / "lidc_nodules")

    @cached_property
    def fabric(self):
        return make_fabric("cpu", "fp32")

    def backgrounds(self, fold: str) -> Backgrounds:
        return Backgrounds([self.scans[name] for name in FOLDS[fold]])

    def settings(self) -> Json:
        """What all runs share, as JSON gives it back."""
        settings = {
            "steps": self.train.steps,
            "batch": self.train.batch,
            "optimiser": self.train.optimiser,
            "lr": self.train.lr,
            "precision": self.train.precision,
            "window": WINDOW,
            "window_step": STEP,
            "hu_windows": HU_WINDOWS,
            "copies": self.copies,
            "each": self.each,
            "folds": FOLDS,
            "network": self.network.to_dict(),
        }
        stored: Json = json.loads(json.dumps(settings))
        return stored

    def measured(self) -> Json:
        """What was measured in the scans, and how many shapes each part has."""
        return {
            "scans": {
                name: {
                    "spacing_mm": list(scan.spacing_mm),
                    "lungs_l": round(float(scan.lungs.sum()) * _litre(scan), 2),
                    "blur_mm": round(scan.blur_mm, 2),
                    "density": scan.density and _rounded(asdict(scan.density)),
                }
                for name, scan in self.scans.items()
            },
            "shapes": {
                part: {"nodules": len(shapes), "patients": len({each.patient for each in shapes})}
                for part, shapes in self.shapes.items()
            },
        }

    def work(self, task: Task) -> Json:
        """Train the network of a fold where the arm has one, and test it in the other scans."""
        fold = task.run.data
        result: Json = {}
        detector: Detector = blob_detector
        if task.run.arm == "network":
            network = self.trained(task, result)
            detector = network_detector(network)
        tested = self.tested(fold)
        parts = task.progress.part(0.8, 1.0).parts(len(tested.scans))
        result["scans"] = {
            scan.name: tried(detector, scan, tested.densities, self, part)
            for scan, part in zip(tested.scans, parts, strict=True)
        }
        return result

    def tested(self, fold: str) -> Backgrounds:
        """The scans of the other folds."""
        return Backgrounds(
            [self.scans[name] for other in FOLDS if other != fold for name in FOLDS[other]]
        )

    def trained(self, task: Task, result: Json) -> nn.Module:
        """The network of a fold with the weights that were best on val."""
        network = new_network(task.run.seed, self.network)
        if self.weights is None:
            result |= self._train(network, task)
        else:
            result |= take_earlier(self.weights, self.settings(), task.folder)
        fill_best(network, task.folder)
        return network.eval()

    def _train(self, network: nn.Module, task: Task) -> Json:
        recipe = InsertedNodules(
            self.train, self.backgrounds(task.run.data), self.shapes["train"], self.shapes["val"]
        )
        about = {"settings": self.settings(), "run": task.run.name}
        trainer = Trainer(network, recipe, self.train, task.folder, about, fabric=self.fabric)
        trained = trainer.run(task.progress.part(0.0, 0.8))
        return {
            "val_dice": round(trained.best_score, 4),
            "training_seconds": trained.seconds,
            "parameters": count_parameters(network)["trained"],
        }

    def study(self, results: StudyResults) -> Study:
        """The arms of a fold, and then the next fold's."""
        results.begin(self.settings())
        runs = [Run(arm, 0, fold) for fold in FOLDS for arm in ARMS]
        return Study(runs, self.work, self.output, results, self.settings())


def _litre(scan: Scan) -> float:
    k, j, i = scan.spacing_mm
    return k * j * i / 1e6


def _rounded(values: Json) -> Json:
    return {key: round(value, 2) for key, value in values.items()}


def plan(data: Path, output: Path, steps: int = 500, copies: int = 3) -> Nodules:
    """The study of a data folder."""
    train = NoduleLoop(
        steps=steps,
        batch=2,
        optimiser="muon",
        lr=1e-2,
        warmup_steps=max(1, steps // 20),
        validate_every=max(1, steps // 2),
        ema=min(0.99, 1 - 20 / max(40, steps)),
        checkpoint_s=60.0,
    )
    return Nodules(data, output, train, copies)
