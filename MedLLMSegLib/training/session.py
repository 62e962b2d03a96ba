"""`train_model`: labelled cases in, a model's bundle out. The public function of training."""
from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..anatomy import named_structures
from ..bundle import read_bundle
from ..cases import CaseSet, folds, read_cases, split_cases
from ..catalogue import find_model, require_licence
from ..config import PRESETS, NetworkConfig
from ..errors import Progress, UserError
from ..llm.store import resolve
from ..networks.build import build_network
from ..outputs import check_writable, make_folder
from .augment import Augmentation
from .calibrate import calibrate
from .checkpoint import begun
from .data import plan_crops, prepare_set
from .export import export_bundle
from .loop import TrainConfig, Trainer
from .optimiser import check_optimiser
from .pace import Pace, seconds_per_look, seconds_per_step
from .plan import CPU_BUDGET_VOX, DataPlan, fingerprint_of, fingerprint_table, gpu_budget_vox, plan_data, plan_table

IN_MEMORY_VOXELS = 2e8  # prepared cases beyond this (1 GB) are kept on disk
LARGEST_VOX = 2e9  # of a prepared case: 8 GB
USUAL_MINUTES = 60
FINE_TUNING = {"lr": 3e-4, "warmup_steps": 50}  # gentler than from nothing: the weights are good already


@dataclass(frozen=True)
class TrainRequest:
    """What a user asks for; None leaves the choice to the plan.

    source: a Decathlon folder, a CSV or a folder of Slicer segmentations (see `cases.read_cases`). output: the run's folder.
    start: a bundle (id or folder) to fine-tune. cases: so many training cases only, drawn by seed in whole groups.
    minutes: time for the training itself, with looks at the val cases (`pace.py`); steps: or so many updates. preset, llm,
    llm_layer, llm_position: the network. structures: names of the labels 1, 2 ... where the source states none.
    window, spacing: (k, j, i) of a sample in voxels and of the network's grid in mm. validations: looks at the val cases;
    within ``minutes`` so many at most.
    optimiser: one of `optimiser.OPTIMISERS`. augmentation: "usual" or "strong" (`Augmentation.stronger`).
    folds, fold: train fold ``fold`` (from 0) of so many, in place of the stated splits (`cross_validation.py`).
    anatomy: "hippocampus" for crops around one hippocampus, which are found in whole heads by a localizer.
    """

    source: str
    output: str
    name: str = ""
    title: str = ""
    modality: str = ""
    licence: str = ""
    data: str = ""
    start: str | None = None
    cases: int | None = None
    minutes: float | None = None
    steps: int | None = None
    preset: str = "medvisionllama"
    llm: str | None = None
    llm_layer: int | None = None
    llm_position: str | None = None
    anatomy: str | None = None
    structures: tuple[str, ...] = ()
    batch: int | None = None
    window: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    optimiser: str = field(default="muon", metadata={"before": "adamw"})
    lr: float | None = None
    augmentation: str = "usual"
    precision: str = "bf16"
    patience: int = 8
    validations: int = 20
    seed: int = 0
    folds: int | None = None
    fold: int | None = None

    def __post_init__(self):
        if self.minutes is not None and self.steps is not None:
            raise UserError("--minutes and --steps both say how long to train; give one of them.")
        for name in ("minutes", "steps", "cases", "batch", "lr", "validations", "window", "spacing"):
            value = getattr(self, name)
            if value is not None and not all(0 < v < math.inf for v in (value if isinstance(value, (tuple, list)) else (value,))):
                raise UserError(f"--{name} is {value}, and must be above 0 and not infinite.")
        for name in ("seed", "patience"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name} is {getattr(self, name)}, and must be 0 or more.")
        check_optimiser(self.optimiser)
        if self.augmentation not in ("usual", "strong"):
            raise UserError(f'--augmentation is "{self.augmentation}"; use usual or strong.')


def train_model(request: TrainRequest, device: str = "auto", progress: Progress | None = None, say=print) -> Path:
    """Train, or go on with, what ``request`` asks for and return the folder of the finished bundle.

    progress: called with (a line of text, fraction done); may raise `Cancelled`, after which the same call goes on.
    say: takes the tables of fingerprint and plan. Raises `UserError` for cases that cannot be trained on, and for a model to
    fine-tune whose licence has not been accepted.
    """
    from .devices import make_fabric

    if request.start:
        require_licence(find_model(request.start))
    check_writable(request.output)
    output, report = make_folder(request.output), progress or (lambda text, fraction: None)
    fabric = make_fabric(device, request.precision)
    case_set = read_cases(request.source, dict(enumerate(request.structures, 1)) if request.structures else None)
    parts = split_cases(case_set, request.seed) if request.folds is None else folds(case_set, request.folds, request.seed)[request.fold]
    chosen = draw_cases(parts["train"], request.cases, request.seed)
    before = begun(output, request)
    tell = say if fabric.is_global_zero else (lambda text: None)
    about = before or _plan(request, case_set, chosen, parts["val"], fabric.device, tell, report)
    plan = DataPlan.from_dict(about["plan"])
    prepare = lambda cases, part: prepare_set(cases, case_set, plan.spacing_mm, plan.axes, _cache(output, about, part), report)
    train, val = prepare(chosen, "train"), prepare(parts["val"], "val")
    if before is None and request.anatomy:
        about["preprocessing"] |= plan_crops(train, plan.spacing_mm[0])
    network_config = NetworkConfig.from_dict(about["network"])
    network = _network(network_config, request)
    if before is None:
        about["train"] = asdict(_with_steps(request, about, network, train, val, fabric))
        if "pace" in about:
            tell(about["pace"])
    config = train_config(about["train"])
    watcher = _watcher(output, request) if fabric.is_global_zero else None
    trainer = Trainer(network, network_config.classes, config, train, val, output, json.loads(json.dumps(about)), fabric, watcher)
    trainer.run(report)
    if not fabric.is_global_zero:
        return output / "bundle"
    calibrate(output, network, val, fabric.device, config.predict_window, report)
    return export_bundle(output, output / "bundle")


def draw_cases(cases, count: int | None, seed: int) -> list:
    """``count`` cases in whole groups drawn at random (the last group cut if it holds more); all for None."""
    if count is None:
        return list(cases)
    if count > len(cases):
        raise UserError(f"--cases {count} asks for more than the {len(cases)} training cases there are.")
    groups = sorted({case.group for case in cases})
    order = [groups[n] for n in np.random.default_rng(seed).permutation(len(groups))]
    return [case for group in order for case in cases if case.group == group][:count]


def train_config(data: dict) -> TrainConfig:
    """A `TrainConfig` from what ``asdict`` made of it, lists for tuples or not."""
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "augmentation"}
    how = {k: tuple(v) if isinstance(v, list) else v for k, v in data["augmentation"].items()}
    known = {f.name for f in fields(TrainConfig)}
    return TrainConfig(**{k: v for k, v in plain.items() if k in known}, augmentation=Augmentation(**how))


def _budget(device: torch.device) -> int:
    """Voxels of a batch that this device trains with."""
    if device.type != "cuda":
        return CPU_BUDGET_VOX
    return gpu_budget_vox(torch.cuda.get_device_properties(device).total_memory)


def _plan(request: TrainRequest, case_set: CaseSet, train, val, device, say, report: Progress) -> dict:
    """What the run does and its bundle must know; printed with reasons."""
    report("looking at the data", 0.0)
    fingerprint = fingerprint_of(train, case_set, lambda text, fraction: report(text, 0.0))
    plan = plan_data(fingerprint, _budget(device), request.spacing)
    voxels = float(np.prod(np.divide(fingerprint.size_mm, plan.spacing_mm)))
    if voxels > LARGEST_VOX:
        raise UserError(f"On a grid of {' x '.join(f'{s:g}' for s in plan.spacing_mm)} mm the median case has {voxels:.2g} voxels, and "
                        f"{LARGEST_VOX:g} at most can be trained on; choose a coarser --spacing.")
    if request.window:
        plan = plan.asked(window=tuple(request.window))
    if request.batch:
        plan = plan.asked(batch=request.batch)
    say(fingerprint_table(fingerprint))
    say(plan_table(fingerprint, plan))
    network = _network_config(request, plan, len(case_set.labels) + 1)
    structures = named_structures(case_set.labels)
    return {
        "request": asdict(request), "fingerprint": fingerprint.to_dict(), "plan": plan.to_dict(), "network": network.to_dict(),
        "preprocessing": {"spacing_mm": plan.spacing_mm[0] if request.anatomy else list(plan.spacing_mm), "axes": plan.axes,
                          "window": list(plan.window), "normalise": "percentile 0.5-99.5, z-score"},
        "id": request.name or Path(request.output).name, "title": request.title, "modality": request.modality,
        "licence": request.licence, "data": request.data, "anatomy": request.anatomy,
        "labels": None if request.anatomy else [s.to_dict() for s in structures],
        "structures": list(case_set.labels.values()), "trained_on": len(train), "chosen_on": len(val),
        "cases": {"train": [c.id for c in train], "val": [c.id for c in val]},
    }


def _network_config(request: TrainRequest, plan: DataPlan, classes: int) -> NetworkConfig:
    if request.start:
        config = NetworkConfig.from_dict(read_bundle(find_model(request.start).folder).metadata["network"])
        return replace(config, classes=classes)
    if request.preset not in PRESETS:
        raise UserError(f'There is no preset "{request.preset}"; use one of {", ".join(PRESETS)}.')
    config = replace(PRESETS[request.preset], classes=classes)
    if config.embedding == "stem":
        config = replace(config, strides=plan.strides)
    asked = {"source": request.llm, "layers": None if request.llm_layer is None else (request.llm_layer,),
             "position": request.llm_position}
    asked = {name: value for name, value in asked.items() if value is not None}
    if asked and config.llm is None:
        raise UserError(f'The preset "{request.preset}" holds no language model; leave the --llm options out.')
    return replace(config, llm=replace(config.llm, **asked)) if asked else config


def _network(config: NetworkConfig, request: TrainRequest) -> nn.Module:
    torch.manual_seed(request.seed)
    network = build_network(config, resolve(config.llm.source, config.llm.layers) if config.llm else None)
    if request.start:
        fill_from(network, read_bundle(find_model(request.start).folder).tensors)
    return network


def fill_from(network: nn.Module, tensors: dict) -> list[str]:
    """Begin with a bundle's weights; returns the names of what did not fit (the head, for other structures) and stays new."""
    own = network.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fitting, strict=False)
    return sorted(set(tensors) - set(fitting))


def _with_steps(request: TrainRequest, about: dict, network: nn.Module, train, val, fabric) -> TrainConfig:
    """The settings of the loop; how many steps and looks at val fit the time is measured on this machine."""
    plan, classes = DataPlan.from_dict(about["plan"]), about["network"]["classes"]
    how = Augmentation(plan.rotate_deg, plan.scale, flips=plan.flips)
    config = TrainConfig(batch=plan.batch, window=plan.window, optimiser=request.optimiser, precision=request.precision,
                         seed=request.seed, patience=request.patience,
                         augmentation=how.stronger() if request.augmentation == "strong" else how,
                         predict_window=(96, 96, 96) if request.anatomy else plan.window,
                         noise_fraction=0.03 if request.anatomy else 0.0,
                         **(FINE_TUNING if request.start else {}))
    if request.lr:
        config = replace(config, lr=request.lr)
    steps, looks = request.steps, request.validations
    if steps is None:
        step_s = seconds_per_step(network, classes, train, config, fabric.device, fabric.world_size)
        with fabric.autocast():  # as the trainer looks
            look_s = seconds_per_look(network, val, config.predict_window, fabric.device, fabric.world_size)
        pace = fabric.broadcast(Pace(step_s, look_s))
        steps, looks = pace.fit(60 * (request.minutes or USUAL_MINUTES), looks)
        about["pace"] = pace.words(steps, looks)
    return replace(config, steps=steps, validate_every=max(1, math.ceil(steps / looks)),
                   warmup_steps=min(config.warmup_steps, steps // 10))


def _cache(output: Path, about: dict, part: str) -> Path | None:
    size, spacing = about["fingerprint"]["size_mm"], about["plan"]["spacing_mm"]
    voxels = float(np.prod([a / b for a, b in zip(size, spacing)])) * (about["trained_on"] + about["chosen_on"])
    return output / "prepared" / part if voxels > IN_MEMORY_VOXELS else None


def _watcher(output: Path, request: TrainRequest):
    from .curves import Watcher  # matplotlib comes with it

    return Watcher(output, request.name or Path(request.output).name)
