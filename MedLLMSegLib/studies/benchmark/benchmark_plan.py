"""What is run, in which order, and with which settings: the same for every arm."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import Case, CaseSet
from MedLLMSegLib.registry.network_config import PAPER, LLMConfig, NetworkConfig
from MedLLMSegLib.training.segmenter.samples.augmentation import VolumeAugmentation
from MedLLMSegLib.training.segmenter.train_config import TrainConfig

# spelt out, so that a later change of the shipped network does not make finished runs another
# benchmark's
SIZES = {
    name: NetworkConfig(
        stem_channels=stem,
        strides=((2, 2, 2),) * 3,
        width=width,
        depth=4,
        heads=heads,
        mlp_ratio=2.0,
        position="rotary",
        attention="hybrid",
        fusion=True,
        decoder="conv",
        dropout=0.0,
        deep_supervision=False,
        llm=LLMConfig("smollm2-135m", (29,), "tail", normalise=True, rotary=False, causal=False),
    )
    for name, stem, width, heads in (
        ("default", (16, 64, 96), 192, 6),
        ("small", (12, 32, 64), 96, 4),
    )
}
LEARNING_RATES = (5e-4, 1e-3, 2e-3)  # what --tune tries for every arm alike
ROBUST_ARMS = ("A", "C", "D", "F")  # of both networks; tested on corrupted images too


@dataclass(frozen=True)
class BenchmarkRun:
    """One training and its test.

    network: "ours", "paper" or "dynunet". arm: of `networks.controls.ARMS`. percent: of the
    training groups. lr: of a tuning run, which is chosen by on val and never tested; None for a run
    that counts.
    """

    network: str
    arm: str
    percent: int
    seed: int
    lr: float | None = None

    @property
    def name(self) -> str:
        return (
            f"{self.network}-{self.arm}-{self.percent}-{self.seed}"
            if self.lr is None
            else f"tune-{self.network}-{self.arm}-lr{self.lr:g}"
        )

    @property
    def robust(self) -> bool:
        return self.arm in ROBUST_ARMS


@dataclass(frozen=True)
class BenchmarkSettings:
    """What all runs share. A folder of runs belongs to one of these for good.

    ours, paper: the two networks with their block (arm F). train: the training of every arm; its
    seed is the run's, and with `tune` its lr the arm's. seeds: of each arm. percents: shares of the
    training groups for ours. spacing_mm, axes: of the network's grid. cases: split -> ids.
    structures: how many.
    """

    ours: NetworkConfig
    paper: NetworkConfig
    train: TrainConfig
    seeds: tuple[int, ...]
    percents: tuple[int, ...]
    tune: bool
    spacing_mm: float
    axes: str
    cases: dict[str, list[str]]
    structures: int

    def to_dict(self) -> dict:
        """JSON-able, with nothing of this machine in it. The pace and place of the work
        are left out.
        """
        settings = {**asdict(self), "train": asdict(self.train)}
        for name in ("seed", "checkpoint_s", "workers", "log_every"):
            settings["train"].pop(name)
        return json.loads(json.dumps(settings))

    @classmethod
    def from_dict(cls, data: dict) -> BenchmarkSettings:
        """What `to_dict` gave."""
        train = _with_tuples(data["train"])
        augmentation = _with_tuples(train.pop("augmentation"))
        own = {
            "ours": NetworkConfig.from_dict(data["ours"]),
            "paper": NetworkConfig.from_dict(data["paper"]),
            "train": TrainConfig(**train, augmentation=VolumeAugmentation(**augmentation)),
            "seeds": tuple(data["seeds"]),
            "percents": tuple(data["percents"]),
        }
        return cls(**{**data, **own})


def _with_tuples(data: Json) -> Json:
    """JSON's lists as the tuples that they were."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
    }


def make_settings(
    case_set: CaseSet,
    splits: Mapping[str, Sequence[Case]],
    *,
    size: str = "default",
    steps: int = 600,
    batch: int = 2,
    window: tuple[int, int, int] = (40, 48, 40),
    lr: float = 1e-3,
    tune: bool = False,
    seeds: tuple[int, ...] = (0, 1, 2),
    precision: str = "bf16",
    optimiser: str = "adamw",
) -> BenchmarkSettings:
    """Settings for a case set and its splits (`data.split_cases`). size: a key of `SIZES`.

    The same for every arm: four validations, a warm-up of a twentieth of the steps (150 at most),
    and an average of the weights over about a thirtieth of them (200 steps at most).
    """
    if size not in SIZES:
        raise UserError(f'"{size}" is not a network size; use one of {", ".join(SIZES)}.')
    if steps < 1 or batch < 1:
        raise UserError(
            f"{steps} steps of {batch} samples are asked for, and at least 1 of each is needed."
        )
    _refuse_missing_splits(case_set, splits)
    classes = len(case_set.labels) + 1
    train = TrainConfig(batch=batch, window=window, lr=lr, precision=precision, optimiser=optimiser)
    return BenchmarkSettings(
        ours=replace(SIZES[size], classes=classes),
        paper=replace(PAPER, classes=classes),
        train=_with_schedule(train, steps),
        seeds=tuple(seeds),
        percents=(100, 10),
        tune=tune,
        spacing_mm=1.0,
        axes="ras",
        cases={split: [c.id for c in splits[split]] for split in ("train", "val", "test")},
        structures=len(case_set.labels),
    )


def _with_schedule(train: TrainConfig, steps: int) -> TrainConfig:
    """The schedule that every arm shares, for so many steps."""
    return replace(
        train,
        steps=steps,
        warmup_steps=min(150, max(1, steps // 20)),
        ema=min(0.995, 1 - 30 / max(60, steps)),
        validate_every=max(1, steps // 4),
        patience=0,
    )


def _refuse_missing_splits(case_set: CaseSet, splits: Mapping[str, Sequence[Case]]) -> None:
    if not all(splits[split] for split in ("train", "val", "test")):
        raise UserError(
            f'"{case_set.source}" has no cases to {next(s for s in splits if not splits[s])} on;'
            ' the benchmark needs "train", "val" and "test" in its splits.json.'
        )


def planned(settings: BenchmarkSettings) -> list[BenchmarkRun]:
    """Stage 1 in the order in which the answer comes soonest: the controls before all else, seed
    by seed.
    """
    whole, *fractions = settings.percents
    runs = [BenchmarkRun("ours", arm, whole, seed) for seed in settings.seeds for arm in "FCDA"]
    runs += [
        run
        for seed in settings.seeds
        for run in (
            BenchmarkRun("dynunet", "J", whole, seed),
            BenchmarkRun("ours", "I", whole, seed),
        )
    ]
    for percent in fractions:
        runs += [
            BenchmarkRun("ours", arm, percent, seed) for seed in settings.seeds for arm in "FCDA"
        ]
        runs += [
            run
            for seed in settings.seeds
            for run in (
                BenchmarkRun("ours", "I", percent, seed),
                BenchmarkRun("dynunet", "J", percent, seed),
            )
        ]
    runs += [BenchmarkRun("paper", arm, whole, seed) for seed in settings.seeds for arm in "FDA"]
    runs += [
        BenchmarkRun("ours", arm, whole, seed)
        for seed in settings.seeds
        for arm in ("F-nolocal", "F-nofusion")
    ]
    return runs


def tuning(settings: BenchmarkSettings) -> list[BenchmarkRun]:
    """With `tune`: every arm at every learning rate, first seed, all cases."""
    if not settings.tune:
        return []
    arms = dict.fromkeys((run.network, run.arm) for run in planned(settings))
    return [
        BenchmarkRun(network, arm, settings.percents[0], settings.seeds[0], lr)
        for network, arm in arms
        for lr in LEARNING_RATES
    ]


def extra_runs(settings: BenchmarkSettings, pattern: str) -> list[BenchmarkRun]:
    """Runs beyond stage 1 (arms B, E, G and H), which only their own name asks for."""
    arms = ("B", "E", "G", "H-head", "H-middle", "H-tail", "H-layer0", "H-layer12")
    every = [
        BenchmarkRun("ours", arm, percent, seed)
        for percent in settings.percents
        for seed in settings.seeds
        for arm in arms
    ]
    return [run for run in every if fnmatch.fnmatchcase(run.name, pattern)]


def chosen_runs(settings: BenchmarkSettings, pattern: str | None = None) -> list[BenchmarkRun]:
    """The runs whose names match (shell wildcards; None: all of stage 1, tuning first)."""
    runs = tuning(settings) + planned(settings)
    if pattern is None:
        return runs
    matching = [run for run in runs if fnmatch.fnmatchcase(run.name, pattern)]
    matching = matching or extra_runs(settings, pattern)
    if not matching:
        raise UserError(
            f'No run is called "{pattern}"; `medllmseg benchmark --list` shows the names, * stands'
            " for any part."
        )
    return matching
