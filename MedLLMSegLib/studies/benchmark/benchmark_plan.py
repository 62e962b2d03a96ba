"""What is run, in which order, and with which settings: the same for every arm."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import Case, CaseSet
from MedLLMSegLib.registry.network_config import PAPER, LLMConfig, NetworkConfig
from MedLLMSegLib.studies.study.runs import Run, Tuning
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
BLIND = "atlas-P"  # the control that sees no image, run by its name: nothing is trained
LEARNING_RATES = (5e-4, 1e-3, 2e-3)  # what --tune tries for every arm alike
ROBUST_ARMS = ("A", "C", "D", "F")  # of both networks; tested on corrupted images too


def run_of(network: str, arm: str, percent: int, seed: int) -> Run:
    """A training of an arm of a network ("ours", "paper" or "dynunet") on a share of the groups.

    arm: of `networks.controls.ARMS`.
    """
    return Run(f"{network}-{arm}", seed, str(percent))


def network_and_arm(run: Run) -> tuple[str, str]:
    """Which network a run trains, and which arm of it."""
    network, arm = run.arm.split("-", 1)
    return network, arm


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
        train=with_schedule(train, steps),
        seeds=tuple(seeds),
        percents=(100, 10),
        tune=tune,
        spacing_mm=1.0,
        axes="ras",
        cases={split: [c.id for c in splits[split]] for split in ("train", "val", "test")},
        structures=len(case_set.labels),
    )


def with_schedule(train: TrainConfig, steps: int) -> TrainConfig:
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


def planned(settings: BenchmarkSettings) -> list[Run]:
    """Stage 1 in the order in which the answer comes soonest: the controls before all else, seed
    by seed.
    """
    whole, *fractions = settings.percents
    parts = [
        (whole, [("ours", arm) for arm in "FCDA"]),
        (whole, [("dynunet", "J"), ("ours", "I")]),
    ]
    for percent in fractions:
        parts.append((percent, [("ours", arm) for arm in "FCDA"]))
        parts.append((percent, [("ours", "I"), ("dynunet", "J")]))
    parts.append((whole, [("paper", arm) for arm in "FDA"]))
    parts.append((whole, [("ours", arm) for arm in ("F-nolocal", "F-nofusion")]))
    return [
        run_of(network, arm, percent, seed)
        for percent, arms in parts
        for seed in settings.seeds
        for network, arm in arms
    ]


def extra_runs(settings: BenchmarkSettings) -> list[Run]:
    """Runs beyond stage 1 (arms B, E, G and H, and `BLIND`), which only their own name asks for."""
    arms = ("B", "E", "G", "H-head", "H-middle", "H-tail", "H-layer0", "H-layer12")
    blind = Run(BLIND, settings.seeds[0], str(settings.percents[0]))
    return [
        blind,
        *(
            run_of("ours", arm, percent, seed)
            for percent in settings.percents
            for seed in settings.seeds
            for arm in arms
        ),
    ]


def tuning_of(settings: Json) -> Tuning:
    """How an arm comes to its learning rate. settings: of `BenchmarkSettings.to_dict`."""
    rates = LEARNING_RATES if settings["tune"] else (settings["train"]["lr"],)
    seed, percent = settings["seeds"][0], str(settings["percents"][0])
    return Tuning(rates, "val_dice", seed, percent, plain=(BLIND,))


def complete_settings(stored: Json) -> Json:
    """Stored settings with the defaults of those that came later."""
    return BenchmarkSettings.from_dict(stored).to_dict()
