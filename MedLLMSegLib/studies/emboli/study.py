"""The arms of the study: a CNN whose slices an LSTM reads, its controls, and a trivial baseline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.studies.study.runs import Run
from MedLLMSegLib.studies.study.settings import read_json
from MedLLMSegLib.studies.study.study import Study, Task
from MedLLMSegLib.training.checkpoint import fill_best
from MedLLMSegLib.training.devices import make_fabric
from MedLLMSegLib.training.loop_config import LoopConfig
from MedLLMSegLib.training.trainer import Trainer

from .chest import read_chest
from .clots import CENTRAL, SEGMENTAL
from .contrast import contrast_of
from .detect import (
    POOLED_MM,
    Calls,
    Scorer,
    find_calls,
    known_where_untouched,
    low_volume,
    network_scorer,
    pooled,
)
from .figures import POINTS, stored_false
from .network import SliceReader
from .parts import Parts, parts_of
from .recipe import ClotWindows, WindowSamples
from .scans import Patient, TouchedScan
from .study_names import ARMS, BASELINE, READS, SIDES
from .vessels import REACH_MM, edge_blur_mm, pulmonary_vessels

SCAN, LABEL = "pulmonary_ct.nii.gz", "pulmonary_artery.nii.gz"
COUNTS = {CENTRAL: 2, SEGMENTAL: 4}  # clots of a scan that tests
DENSE = {CENTRAL: 3, SEGMENTAL: 6}  # of one that trains
# Seeds of the clots: of each use, so that none is drawn twice.
SEEDS = {"train": 1000, "val": 2000, "test": 3000}
DIGITS = 4  # of a stored score
TRAINED = "trained.json"  # in a run's folder, where only its test is left


@dataclass(eq=False)
class Emboli:
    """data: the folder of `SCAN` and `LABEL`. scans: with clots, of each use."""

    data: Path
    output: Path
    loop: LoopConfig
    scans: dict[str, int]
    seeds: tuple[int, ...]
    _touched: dict[tuple[str, str], list[TouchedScan]] = field(default_factory=dict)

    @cached_property
    def fabric(self):
        return make_fabric("cpu", self.loop.precision)

    @cached_property
    def patient(self) -> Patient:
        chest = read_chest(load_volume(self.data / SCAN))
        label = chest.on_grid(load_volume(self.data / LABEL))
        contrast = contrast_of(chest, label)
        vessels = pulmonary_vessels(chest, label, contrast.artery_hu)
        return Patient(chest, vessels, contrast, edge_blur_mm(chest, vessels))

    @cached_property
    def untouched(self) -> TouchedScan:
        return self.patient.with_clots(self.patient.vessels.arteries, {}, 0)

    def parts(self, trains: str) -> Parts:
        return parts_of(self.patient.vessels.label, trains)

    def touched(self, trains: str, use: str) -> list[TouchedScan]:
        """The scans of one use, with clots in its part alone; made once."""
        if (trains, use) not in self._touched:
            zone = getattr(self.parts(trains), use)
            counts = COUNTS if use == "test" else DENSE
            self._touched[trains, use] = [
                self.patient.with_clots(zone, counts, SEEDS[use] + n)
                for n in range(self.scans[use])
            ]
        return self._touched[trains, use]

    def settings(self) -> Json:
        """What all runs share, as JSON gives it back."""
        stored: Json = json.loads(
            json.dumps(
                {
                    "steps": self.loop.steps,
                    "batch": self.loop.batch,
                    "lr": self.loop.lr,
                    "optimiser": self.loop.optimiser,
                    "precision": self.loop.precision,
                    "scans": self.scans,
                    "seeds": list(self.seeds),
                    "counts": COUNTS,
                    "counts_train": DENSE,
                    "pooled_mm": POOLED_MM,
                    "searched_mm": REACH_MM,
                    "false_calls": POINTS,
                }
            )
        )
        return stored

    def facts(self) -> Json:
        """What was measured in the scan itself."""
        contrast, vessels = self.patient.contrast, self.patient.vessels
        voxel_ml = self.patient.chest.spacing_mm**3 / 1000
        return {
            "artery_hu": round(contrast.artery_hu),
            "artery_sd": round(contrast.artery_sd),
            "other_hu": None if contrast.other_hu is None else round(contrast.other_hu),
            "warnings": list(contrast.warnings),
            "blur_mm": round(self.patient.blur_mm, 2),
            "label_ml": round(float(vessels.label.sum()) * voxel_ml, 1),
            "arteries_ml": round(float(vessels.arteries.sum()) * voxel_ml, 1),
        }

    # ---- runs ----

    def work(self, task: Task) -> Json:
        """Train an arm on one side, choose its threshold there, and test it on the other side."""
        if task.run.arm == BASELINE:
            return self._measured(low_volume, task)
        trained = self._trained(task)
        return {**trained, **self._measured(self.scorer(task.run, task.folder), task)}

    def _trained(self, task: Task) -> Json:
        """Train, unless that is finished, and say how it went."""
        path = task.folder / TRAINED
        if path.exists():
            return read_json(path)
        network = self.new_network(task.run)
        parts = self.parts(task.run.data)
        seed = task.run.seed
        train = WindowSamples(self.touched(task.run.data, "train"), parts.train, seed)
        val = WindowSamples(self.touched(task.run.data, "val"), parts.val, 0, mirrored=False)
        loop = replace(self.loop, seed=seed)
        recipe = ClotWindows(train, val, loop)
        about = {"settings": self.settings(), "run": task.run.name}
        trainer = Trainer(network, recipe, loop, task.folder, about, fabric=self.fabric)
        trained = trainer.run(task.progress.part(0.0, 0.8))
        found = {
            "val_auc": round(trained.best_score, 4),
            "training_seconds": trained.seconds,
            "parameters": count_parameters(network)["trained"],
        }
        write_text(path, json.dumps(found))
        return found

    def new_network(self, run: Run) -> SliceReader:
        """An arm's network with its seed's first weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            return SliceReader(READS[run.arm])

    def scorer(self, run: Run, folder: Path) -> Scorer:
        """That of a finished run."""
        if run.arm == BASELINE:
            return low_volume
        network = self.new_network(run)
        fill_best(network, folder)
        of_windows = network_scorer(network.eval(), torch.device("cpu"))
        return pooled(known_where_untouched(of_windows, self.untouched))

    def _measured(self, scorer: Scorer, task: Task) -> Json:
        """The threshold, above which nothing is called in the untouched part that is no test's; and
        what it gives in the test's part, untouched and with clots.
        """
        parts = self.parts(task.run.data)
        quiet = find_calls(self.untouched, parts.chosen_on, scorer).scores
        of_val = find_calls(self.untouched, parts.val, scorer).scores
        silent = find_calls(self.untouched, parts.test, scorer).scores
        lesions: list[Json] = []
        false: list[Array] = []
        scans = self.touched(task.run.data, "test")
        for number, scan in enumerate(scans):
            task.progress(f"testing scan {number + 1}", 0.8 + 0.2 * number / len(scans))
            calls = find_calls(scan, parts.test, scorer)
            false.append(calls.scores[calls.clots == 0])
            lesions += _lesions(number, scan, calls)
        threshold = round(float(quiet.max(initial=0.0)), DIGITS)
        falling = _falling(false)
        return {
            "threshold": threshold,
            "threshold_of_val": round(float(of_val.max(initial=0.0)), DIGITS),
            "silent_above": int((_falling([silent]) > threshold).sum()),
            "lesions": lesions,
            "false_above": int((falling > threshold).sum()),
            "false_total": len(falling),
            "false": falling[: stored_false(len(scans))].tolist(),
            "test_scans": len(scans),
        }

    def study(self, results: StudyResults) -> Study:
        """The arms, seed by seed, on both sides; the baseline draws nothing, and needs one seed."""
        if results.get("scan") is None:
            results.begin(self.settings(), scan=self.facts())
        else:  # the scan is slow to read, and a page or a list needs nothing of it
            results.begin(self.settings())
        runs = [
            Run(arm, seed, side)
            for seed in self.seeds
            for arm in ARMS
            for side in SIDES
            if arm != BASELINE or seed == self.seeds[0]
        ]
        return Study(runs, self.work, self.output, results, self.settings())


def _lesions(number: int, scan: TouchedScan, calls: Calls) -> list[Json]:
    """Of each clot of a scan with this number: what it is, and its highest score."""
    own = [calls.scores[calls.clots == clot] for clot in range(1, len(scan.clots) + 1)]
    return [
        {
            "scan": number,
            "kind": clot.kind,
            "ml": round(clot.ml, 3),
            "score": round(float(scores.max()), DIGITS) if len(scores) else None,
        }
        for clot, scores in zip(scan.clots, own, strict=True)
    ]


def _falling(scores: Sequence[Array]) -> Array:
    """The scores of all scans, the highest first, as they are stored."""
    falling: Array = np.sort(np.round(np.concatenate(scores).astype(float), DIGITS))[::-1]
    return falling
