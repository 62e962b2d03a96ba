"""`train_model`: labelled cases in, a model's bundle out. The public function of training."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, make_folder
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import Bundle, check_bundle_folder, read_bundle
from MedLLMSegLib.registry.catalogue import find_model
from MedLLMSegLib.registry.licences import require_licence
from MedLLMSegLib.registry.network_config import NetworkConfig
from MedLLMSegLib.training.checkpoint import plan_to_resume
from MedLLMSegLib.training.devices import make_fabric, precision_of
from MedLLMSegLib.training.segmenter.bundle.export_segmenter import export_bundle, is_exported
from MedLLMSegLib.training.segmenter.bundle.fit_calibration import calibrate
from MedLLMSegLib.training.segmenter.planning.loop_settings import loop_settings, with_workers
from MedLLMSegLib.training.segmenter.planning.plan import DataPlan
from MedLLMSegLib.training.segmenter.planning.training_plan import make_plan
from MedLLMSegLib.training.segmenter.samples.chosen_cases import (
    ChosenCases,
    choose_cases,
    refuse_other_cases,
)
from MedLLMSegLib.training.segmenter.samples.prepared_cases import (
    CaseCache,
    plan_crops,
    prepare_set,
)
from MedLLMSegLib.training.trainer import Trainer

from .case_recipe import case_trainer
from .request import TrainRequest
from .train_config import TrainConfig
from .transfer import check_licence, fill_from

IN_MEMORY_VOXELS = 2e8  # prepared cases beyond this (1 GB) are kept on disk


def train_model(
    request: TrainRequest, device: str = "auto", progress: Report | None = None, say=print
) -> Path:
    """Train, or resume, what ``request`` asks for and return the folder of the finished bundle.

    progress: called with (a line of text, fraction done); may raise `Cancelled`, after which the
    same call goes on. say: takes the tables of fingerprint and plan. Raises `UserError` for cases
    that cannot be trained on, and for a model to fine-tune whose licence has not been accepted.
    """
    check_writable(request.output)
    check_bundle_folder(Path(request.output) / "bundle")
    begun = plan_to_resume(request.output, request)
    start = _start(request) if begun is None else None  # a resumed training has its weights
    output, report = make_folder(request.output), Progress.of(progress)
    fabric = make_fabric(device, begun["train"].get("precision") if begun else request.precision)
    say = say if fabric.is_global_zero else _silent
    chosen = choose_cases(request)
    refuse_other_cases(begun or {}, output, chosen)
    say(chosen.summary())
    before = report.part(0.0, 0.0)  # the training alone counts as progress
    before("looking at the data", 0.0)
    about = begun or make_plan(request, start, chosen, fabric.device, say, before)
    cache = _cache_folder(output, about)
    train, val = _prepared(chosen, about, cache, fabric, report, begun is not None)
    network = _network(NetworkConfig.from_dict(about["network"]), request.seed, start)
    if begun is None:
        _complete_plan(about, request, network, train, val, fabric, say)
    watcher = _watcher(output, request) if fabric.is_global_zero else None
    trainer = _trainer(network, about, train, val, output, fabric, watcher)
    if begun is not None:
        say(f"goes on at step {trainer.state.step} of {trainer.config.steps}")
    trainer.run(report)
    bundle = output / "bundle"
    if not fabric.is_global_zero:
        return bundle
    if not is_exported(output, bundle):
        calibrate(
            output,
            network,
            val,
            fabric.device,
            TrainConfig.from_dict(about["train"]).predict_window,
            report,
        )
        export_bundle(output, bundle)
    # Also after a run that was killed between the export and this.
    if cache:  # gigabytes of copies of patients' scans
        shutil.rmtree(cache, ignore_errors=True)
    return bundle


def _trainer(
    network: nn.Module,
    about: Json,
    train: list[dict],
    val: list[dict],
    output: Path,
    fabric,
    on_validation,
) -> Trainer:
    return case_trainer(
        network,
        about["network"]["classes"],
        with_workers(TrainConfig.from_dict(about["train"]), fabric),
        train,
        val,
        output,
        json.loads(json.dumps(about)),
        fabric=fabric,
        on_validation=on_validation,
    )


def _silent(text: str) -> None:
    """Only the first of several processes speaks."""


def _prepared(
    chosen: ChosenCases, about: Json, cache: Path | None, fabric, progress: Progress, kept: bool
) -> tuple[list[dict], list[dict]]:
    """The train and val cases on the network's grid.

    cache: a folder that the first process fills and the others read. kept: whether what lies there
    was made from the same cases.
    """
    preparation = DataPlan.from_dict(about["plan"]).preparation
    prepared = []
    with fabric.rank_zero_first() if cache else nullcontext():
        for split, cases in (("train", chosen.train), ("val", chosen.val)):
            store = CaseCache(cache / split, fabric.is_global_zero, kept) if cache else None
            prepared.append(prepare_set(cases, chosen.case_set, preparation, store, progress))
    train, val = prepared
    return train, val


def _complete_plan(
    about: Json, request: TrainRequest, network: nn.Module, train, val, fabric, say
) -> None:
    """Add what only the prepared cases and this machine's speed tell."""
    if request.anatomy:
        about["preprocessing"] |= plan_crops(train, about["plan"]["spacing_mm"][0])
    about["train"] = asdict(loop_settings(request, about, network, train, val, fabric))
    say(_precision_text(request, fabric))
    if "pace" in about:
        say(about["pace"])


def _precision_text(request: TrainRequest, fabric) -> str:
    computer = "GPU" if fabric.device.type == "cuda" else "computer"
    why = "as asked" if request.precision else f"what this {computer} trains fastest in"
    return f"  precision       {precision_of(fabric):<22}  {why}"


def _cache_folder(output: Path, about: Json) -> Path | None:
    """Where prepared cases are kept that are too many for the memory; None where they are not."""
    size, spacing = about["fingerprint"]["size_mm"], about["plan"]["spacing_mm"]
    cases = about["trained_on"] + about["chosen_on"]
    voxels = float(np.prod(np.divide(size, spacing))) * cases * about["network"]["in_channels"]
    return output / "prepared" if voxels > IN_MEMORY_VOXELS else None


def _start(request: TrainRequest) -> Bundle | None:
    """The model to fine-tune, if its licence has been accepted and is not given up."""
    if not request.start:
        return None
    entry = find_model(request.start)
    if not entry.fine_tunes:
        raise UserError(
            f'The model "{entry.id}" tells left and right apart in a way that your own cases cannot'
            " train; start from another model, or from new weights."
        )
    require_licence(entry)
    check_licence(request.licence, entry.id, entry.licence)
    return read_bundle(entry.folder)


def _network(config: NetworkConfig, seed: int, start: Bundle | None) -> nn.Module:
    torch.manual_seed(seed)
    network = build_network(
        config, resolve(config.llm.source, config.llm.layers) if config.llm else None
    )
    if start:
        fill_from(network, start.tensors)
    return network


def _watcher(output: Path, request: TrainRequest):
    from MedLLMSegLib.training.curves import Watcher  # matplotlib comes with it

    return Watcher(output, request.name or Path(request.output).name)
