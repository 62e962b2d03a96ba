"""`train_model`: labelled cases in, a model's bundle out. The public function of training."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.anatomy.structures import named_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import check_writable, make_folder
from MedLLMSegLib.data import CaseSet, folds, read_cases, split_cases
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import Bundle, check_bundle_folder, read_bundle
from MedLLMSegLib.registry.catalogue import find_model, plain_id
from MedLLMSegLib.registry.licences import require_licence
from MedLLMSegLib.registry.network_config import PRESETS, NetworkConfig
from MedLLMSegLib.segmentation.prepare import Preparation
from MedLLMSegLib.training.checkpoint import plan_to_resume
from MedLLMSegLib.training.devices import make_fabric, precision_of, sample_workers

from .augmentation import VolumeAugmentation
from .calibration import calibrate
from .export_segmenter import export_bundle, is_exported
from .plan import (
    CPU_BUDGET_VOX,
    DataPlan,
    fingerprint_of,
    fingerprint_table,
    gpu_budget_vox,
    plan_data,
    plan_table,
)
from .prepared_cases import plan_crops, prepare_set
from .request import TrainRequest
from .segmenter_loop import TrainConfig, Trainer
from .speed import TrainingSpeed, seconds_per_step, seconds_per_validation
from .transfer import check_licence, fill_from

IN_MEMORY_VOXELS = 2e8  # prepared cases beyond this (1 GB) are kept on disk
LARGEST_VOX = 2e9  # of a prepared case: 8 GB
USUAL_MINUTES = 60
# A model of the same structures is never made worse by its val cases' judgement: the weights that
# it begins with count too.
FINE_TUNING = {"warmup_steps": 50, "look_first": True}
FINE_TUNING_LR = {"muon": 3e-3, "adamw": 3e-4}  # Muon's chosen on val cases: docs/train.md


def train_model(
    request: TrainRequest, device: str = "auto", progress: Report | None = None, say=print
) -> Path:
    """Train, or go on with, what ``request`` asks for and return the folder of the finished bundle.

    progress: called with (a line of text, fraction done); may raise `Cancelled`, after which the
    same call goes on. say: takes the tables of fingerprint and plan. Raises `UserError` for cases
    that cannot be trained on, and for a model to fine-tune whose licence has not been accepted.
    """
    check_writable(request.output)
    check_bundle_folder(Path(request.output) / "bundle")
    before = plan_to_resume(request.output, request)
    start = _start(request) if before is None else None  # what goes on has its weights already
    output, report = make_folder(request.output), progress or (lambda text, fraction: None)
    fabric = make_fabric(device, before["train"].get("precision") if before else request.precision)
    case_set = read_cases(
        request.source, dict(enumerate(request.structures, 1)) if request.structures else None
    )
    parts = (
        split_cases(case_set, request.seed)
        if request.folds is None
        else folds(case_set, request.folds, request.seed)[request.fold]
    )
    chosen = draw_cases(parts["train"], request.cases, request.seed)
    _refuse_other_cases(before, output, case_set, chosen, parts["val"])
    tell = say if fabric.is_global_zero else (lambda text: None)
    tell(_parts_in_words(case_set, chosen, parts))
    about = before or _plan(
        request, start, case_set, chosen, parts["val"], fabric.device, tell, report
    )
    plan = DataPlan.from_dict(about["plan"])
    cache = _cache(output, about)
    with (
        fabric.rank_zero_first() if cache else nullcontext()
    ):  # the first process fills the cache, and the others read it
        prepare = lambda cases, part: prepare_set(
            cases,
            case_set,
            Preparation(plan.spacing_mm, plan.axes, plan.grey),
            cache and cache / part,
            report,
            fabric.is_global_zero,
            before is not None,
        )
        train, val = prepare(chosen, "train"), prepare(parts["val"], "val")
    if before is None and request.anatomy:
        about["preprocessing"] |= plan_crops(train, plan.spacing_mm[0])
    network_config = NetworkConfig.from_dict(about["network"])
    network = _network(network_config, request.seed, start)
    if before is None:
        about["train"] = asdict(_with_steps(request, about, network, train, val, fabric))
        tell(_precision_in_words(request, fabric))
        if "pace" in about:
            tell(about["pace"])
    config = _with_workers(train_config(about["train"]), fabric)
    watcher = _watcher(output, request) if fabric.is_global_zero else None
    trainer = Trainer(
        network,
        network_config.classes,
        config,
        train,
        val,
        output,
        json.loads(json.dumps(about)),
        fabric,
        watcher,
    )
    if before is not None:
        tell(f"goes on at step {trainer.state.step} of {config.steps}")
    trainer.run(report)
    if not fabric.is_global_zero or is_exported(output, output / "bundle"):
        return output / "bundle"
    calibrate(output, network, val, fabric.device, config.predict_window, report)
    bundle = export_bundle(output, output / "bundle")
    if cache:  # gigabytes of copies of patients' scans
        shutil.rmtree(cache, ignore_errors=True)
    return bundle


def _start(request: TrainRequest) -> Bundle | None:
    """The model to fine-tune, if its licence has been accepted and is not given up."""
    if not request.start:
        return None
    entry = find_model(request.start)
    require_licence(entry)
    check_licence(request.licence, entry.id, entry.licence)
    return read_bundle(entry.folder)


def _parts_in_words(case_set: CaseSet, train, parts: dict[str, tuple]) -> str:
    """What becomes of the cases, so that nobody has to guess which were found and which were set
    aside.
    """
    groups, used = (
        len({case.group for case in case_set.cases}),
        len(train) + len(parts["val"]) + len(parts["test"]),
    )
    chosen = ", ".join(case.id for case in parts["val"][:5]) + (
        " ..." if len(parts["val"]) > 5 else ""
    )
    left = len(case_set.cases) - used
    return (
        f"{len(case_set.cases)} labelled cases of {groups} groups (patients): {len(train)} to train"
        f" on, {len(parts['val'])} to choose by ({chosen}), {len(parts['test'])} to test on"
        + (f", {left} not used" if left else "")
    )


def _precision_in_words(request: TrainRequest, fabric) -> str:
    why = (
        "as asked"
        if request.precision
        else f"what this {'GPU' if fabric.device.type == 'cuda' else 'computer'} trains fastest in"
    )
    return f"  precision       {precision_of(fabric):<22}  {why}"


def _refuse_other_cases(before: dict | None, output: Path, case_set: CaseSet, train, val) -> None:
    """A case that weights were chosen by must not be trained on later, nor the other way round;
    and a label is what it was.
    """
    known = ((before or {}).get("fingerprint") or {}).get("labels")
    if known is not None and {int(value): name for value, name in known.items()} != case_set.labels:
        raise UserError(
            f'"{output}" holds a training of the structures {", ".join(known.values())}, and the'
            " data now have "
            f"{', '.join(case_set.labels.values())}; choose another output folder, or bring back"
            " the names."
        )
    for part, cases in (("train", train), ("val", val)):
        was, now = ((before or {}).get("cases") or {}).get(part), [case.id for case in cases]
        if was is not None and was != now:
            odd = (sorted(set(was) ^ set(now)) or now)[0]
            raise UserError(
                f'"{output}" holds a training on other data: the {part} cases differ, for example'
                f' "{odd}"; choose another output folder, or bring back the cases it began with.'
            )
        contents = (before or {}).get("contents") or {}  # older trainings kept none
        changed = next(
            (case for case in cases if case.id in contents and contents[case.id] != case.sha256()),
            None,
        )
        if changed:
            raise UserError(
                f'The image or label map of "{changed.id}" is not the one that the training in'
                f' "{output}" began with; choose another output folder to train on what it is now.'
            )


def draw_cases(cases, count: int | None, seed: int) -> list:
    """``count`` cases in whole groups drawn at random (the last group cut if it holds more); all
    for None.
    """
    if count is None:
        return list(cases)
    if count > len(cases):
        raise UserError(
            f"--cases {count} asks for more than the {len(cases)} training cases there are."
        )
    groups = sorted({case.group for case in cases})
    order = [groups[n] for n in np.random.default_rng(seed).permutation(len(groups))]
    return [case for group in order for case in cases if case.group == group][:count]


def train_config(data: dict) -> TrainConfig:
    """A `TrainConfig` from what ``asdict`` made of it, lists for tuples or not."""
    plain = {
        k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "augmentation"
    }
    how = {k: tuple(v) if isinstance(v, list) else v for k, v in data["augmentation"].items()}
    known = {f.name for f in fields(TrainConfig)}
    return TrainConfig(
        **{k: v for k, v in plain.items() if k in known}, augmentation=VolumeAugmentation(**how)
    )


def _with_workers(config: TrainConfig, fabric) -> TrainConfig:
    """Processes that make samples are this machine's matter: no plan holds them, as they change
    no sample.
    """
    voxels = config.batch // fabric.world_size * math.prod(config.window)
    return replace(
        config, workers=sample_workers(fabric.device, 8 * voxels)
    )  # an image and a label of 4 bytes each


def _budget(device: torch.device) -> int:
    """Voxels of a batch that this device trains with."""
    if device.type != "cuda":
        return CPU_BUDGET_VOX
    return gpu_budget_vox(torch.cuda.get_device_properties(device).total_memory)


def _plan(
    request: TrainRequest,
    start: Bundle | None,
    case_set: CaseSet,
    train,
    val,
    device,
    say,
    report: Report,
) -> dict:
    """What the run does and its bundle must know; printed with reasons."""
    report("looking at the data", 0.0)
    fingerprint = fingerprint_of(
        train,
        case_set,
        lambda text, fraction: report(text, 0.0),
        "ras" if request.anatomy else None,
    )
    # Crops around an organ are cut at one spacing for all axes (`localize.py`).
    spacing = request.spacing or (
        (float(np.median(fingerprint.spacing_mm)),) * 3 if request.anatomy else None
    )
    base = Preparation.from_settings(start.metadata["preprocessing"]) if start else None
    plan = plan_data(fingerprint, _budget(device), spacing, request.modality, base)
    voxels = float(np.prod(np.divide(fingerprint.size_mm, plan.spacing_mm)))
    if voxels > LARGEST_VOX:
        raise UserError(
            f"On a grid of {' x '.join(f'{s:g}' for s in plan.spacing_mm)} mm the median case has"
            f" {voxels:.2g} voxels, and {LARGEST_VOX:g} at most can be trained on; choose a coarser"
            " --spacing."
        )
    if request.window:
        plan = plan.with_choices(window=tuple(request.window))
    if request.batch:
        plan = plan.with_choices(batch=request.batch)
    say(fingerprint_table(fingerprint))
    say(plan_table(fingerprint, plan))
    if start and start.metadata.get("anatomy") and not request.anatomy:
        say(
            f"{start.metadata['id']} takes crops that a localizer cuts out of whole scans; the new"
            " model will take scans as yours are. If yours are such crops, and whole scans are to"
            f" be segmented, begin again with --anatomy {start.metadata['anatomy']}."
        )
    network = _network_config(request, start, plan, len(case_set.labels) + 1)
    structures = named_structures(case_set.labels)
    return {
        "request": asdict(request),
        "fingerprint": fingerprint.to_dict(),
        "plan": plan.to_dict(),
        "network": network.to_dict(),
        "preprocessing": {
            "spacing_mm": plan.spacing_mm[0] if request.anatomy else list(plan.spacing_mm),
            "axes": plan.axes,
            "window": list(plan.window),
            **_grey_settings(plan),
        },
        "id": request.name or plain_id(Path(request.output).name) or "model",
        "title": request.title,
        "modality": request.modality,
        "licence": request.licence,
        "data": request.data,
        "anatomy": request.anatomy,
        "labels": None if request.anatomy else [s.to_dict() for s in structures],
        "structures": list(case_set.labels.values()),
        "trained_on": len(train),
        "chosen_on": len(val),
        "cases": {"train": [c.id for c in train], "val": [c.id for c in val]},
        "contents": {c.id: c.sha256() for c in (*train, *val)},
        "fine_tuned_from": (
            start
            and {
                k: start.metadata.get(k)
                for k in ("id", "licence", "accept_licence", "weights_sha256")
            }
        ),
    }


def _grey_settings(plan: DataPlan) -> dict:
    if plan.grey is None:
        return {"normalise": "percentile 0.5-99.5, z-score"}
    low, high, mean, deviation = plan.grey
    return {
        "normalise": f"{low:g} to {high:g}, minus {mean:g}, divided by {deviation:g}",
        "grey": list(plan.grey),
    }


def _network_config(
    request: TrainRequest, start: Bundle | None, plan: DataPlan, classes: int
) -> NetworkConfig:
    if start:
        return replace(
            _on_grid(NetworkConfig.from_dict(start.metadata["network"]), plan), classes=classes
        )
    if request.preset not in PRESETS:
        raise UserError(f'There is no preset "{request.preset}"; use one of {", ".join(PRESETS)}.')
    config = replace(_on_grid(PRESETS[request.preset], plan), classes=classes)
    asked = {
        "source": request.llm,
        "layers": None if request.llm_layer is None else (request.llm_layer,),
        "position": request.llm_position,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if asked and config.llm is None:
        raise UserError(
            f'The preset "{request.preset}" holds no language model; leave the --llm options out.'
        )
    return replace(config, llm=replace(config.llm, **asked)) if asked else config


def _on_grid(config: NetworkConfig, plan: DataPlan) -> NetworkConfig:
    return replace(config, strides=plan.strides) if config.embedding == "stem" else config


def _network(config: NetworkConfig, seed: int, start: Bundle | None) -> nn.Module:
    torch.manual_seed(seed)
    network = build_network(
        config, resolve(config.llm.source, config.llm.layers) if config.llm else None
    )
    if start:
        fill_from(network, start.tensors)
    return network


def _with_steps(
    request: TrainRequest, about: dict, network: nn.Module, train, val, fabric
) -> TrainConfig:
    """The settings of the loop; how many steps and looks at val fit the time is measured on this
    machine.
    """
    plan, classes = DataPlan.from_dict(about["plan"]), about["network"]["classes"]
    how = VolumeAugmentation(plan.rotate_deg, plan.scale, flips=plan.flips)
    fine_tuning = {"lr": FINE_TUNING_LR[request.optimiser], **FINE_TUNING} if request.start else {}
    config = TrainConfig(
        batch=plan.batch,
        window=plan.window,
        optimiser=request.optimiser,
        precision=precision_of(fabric),
        seed=request.seed,
        patience=request.patience,
        augmentation=how.stronger() if request.augmentation == "strong" else how,
        predict_window=(96, 96, 96) if request.anatomy else plan.window,
        noise_fraction=0.03 if request.anatomy else 0.0,
        **fine_tuning,
    )
    if request.lr:
        config = replace(config, lr=request.lr)
    steps, looks = request.steps, request.validations
    if steps is None:
        step_s = seconds_per_step(
            network, classes, train, _with_workers(config, fabric), fabric.device, fabric.world_size
        )
        with fabric.autocast():  # as the trainer looks
            validation_s = seconds_per_validation(
                network, val, config.predict_window, fabric.device, fabric.world_size
            )
        pace = fabric.broadcast(TrainingSpeed(step_s, validation_s))
        steps, looks = pace.fit(60 * (request.minutes or USUAL_MINUTES), looks)
        about["pace"] = pace.words(steps, looks)
    return replace(
        config,
        steps=steps,
        validate_every=max(1, math.ceil(steps / looks)),
        warmup_steps=min(config.warmup_steps, steps // 10),
    )


def _cache(output: Path, about: dict) -> Path | None:
    size, spacing = about["fingerprint"]["size_mm"], about["plan"]["spacing_mm"]
    voxels = float(np.prod([a / b for a, b in zip(size, spacing)])) * (
        about["trained_on"] + about["chosen_on"]
    )
    return output / "prepared" if voxels > IN_MEMORY_VOXELS else None


def _watcher(output: Path, request: TrainRequest):
    from MedLLMSegLib.training.curves import Watcher  # matplotlib comes with it

    return Watcher(output, request.name or Path(request.output).name)
