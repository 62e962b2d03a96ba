"""The plan of a training: what it does, what its bundle must know, and which network it trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.anatomy.structures import named_structures
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data.case_digest import marks_of_cases
from MedLLMSegLib.registry.bundle import Bundle
from MedLLMSegLib.registry.catalogue import plain_id
from MedLLMSegLib.registry.input_channels import FIELD as FIELD_OF_CHANNELS
from MedLLMSegLib.registry.input_channels import channels_as_json, modality_name, normalisation_text
from MedLLMSegLib.registry.network_config import PRESETS, NetworkConfig
from MedLLMSegLib.registry.seen_cases import FIELD, SeenCases, started_from
from MedLLMSegLib.segmentation.prepare import Preparation
from MedLLMSegLib.training.segmenter.request import TrainRequest
from MedLLMSegLib.training.segmenter.samples.chosen_cases import ChosenCases

from .fingerprint import Fingerprint, fingerprint_of, fingerprint_table
from .plan import CPU_BUDGET_VOX, DataPlan, gpu_budget_vox, plan_data, plan_table

LARGEST_VOX = 2e9  # of a prepared case: 8 GB


def _budget(device: torch.device) -> int:
    """Voxels of a batch that this device trains with."""
    if device.type != "cuda":
        return CPU_BUDGET_VOX
    return gpu_budget_vox(torch.cuda.get_device_properties(device).total_memory)


def make_plan(
    request: TrainRequest,
    start: Bundle | None,
    chosen: ChosenCases,
    device: torch.device,
    say: Callable[[str], None],
    progress: Progress,
) -> Json:
    """What the run does and its bundle must know. The data's fingerprint and the plan are printed.

    start: the model to fine-tune, or None.
    """
    fingerprint = fingerprint_of(
        chosen.train, chosen.case_set, progress, "ras" if request.anatomy else None
    )
    plan = _data_plan(request, start, fingerprint, device)
    say(fingerprint_table(fingerprint))
    say(plan_table(fingerprint, plan))
    if start and start.metadata.get("anatomy") and not request.anatomy:
        say(
            f"{start.metadata['id']} takes crops that a localizer cuts out of whole scans; the new"
            " model will take scans as yours are. If yours are such crops, and whole scans are to"
            f" be segmented, begin again with --anatomy {start.metadata['anatomy']}."
        )
    labels = chosen.case_set.labels
    network = _network_config(request, start, plan, len(labels) + 1)
    return {
        "request": asdict(request),
        "fingerprint": fingerprint.to_dict(),
        "plan": plan.to_dict(),
        "network": network.to_dict(),
        "preprocessing": {
            "spacing_mm": plan.spacing_mm[0] if request.anatomy else list(plan.spacing_mm),
            "axes": plan.axes,
            "window": list(plan.wide_window if request.augmentation == "scanners" else plan.window),
            **_grey_settings(plan),
        },
        **_description(request, plan, labels),
        **_cases_entries(chosen),
        FIELD: _seen(chosen, start).to_dict(),
        "fine_tuned_from": _base_model(start) if start else None,
    }


def _data_plan(
    request: TrainRequest, start: Bundle | None, fingerprint: Fingerprint, device: torch.device
) -> DataPlan:
    """Raises `UserError` where the grid would be too fine to train on."""
    spacing = request.spacing
    if spacing is None and request.anatomy:
        # Crops around an organ are cut at one spacing for all axes (`segmentation.localize`).
        spacing = (float(np.median(fingerprint.spacing_mm)),) * 3
    base = Preparation.from_settings(start.metadata["preprocessing"]) if start else None
    _check_channels(request, start, base, [channel.name for channel in fingerprint.channels])
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
    return plan


def _check_channels(
    request: TrainRequest, start: Bundle | None, base: Preparation | None, names: list[str]
) -> None:
    """Raise `UserError` where the images of the cases are not those of the model to begin with, or
    where a crop around an organ has several.
    """
    if request.anatomy and names:
        raise UserError(
            f"--anatomy takes crops of one image, and the cases have {', '.join(names)}; leave it"
            " out."
        )
    if start is None or base is None:
        return
    takes = [channel.name for channel in base.channels]
    if takes != names:
        raise UserError(
            f'"{start.metadata["id"]}" takes {" and ".join(takes) or "one image without a name"},'
            f" and the cases have {' and '.join(names) or 'one image without a name'}; name the"
            " images as it does (--channels), or begin anew."
        )


def _description(request: TrainRequest, plan: DataPlan, labels: dict[int, str]) -> Json:
    """What the model will say of itself."""
    kinds = [modality_name(channel.modality) for channel in plan.channels]
    structures = None
    if not request.anatomy:
        structures = [structure.to_dict() for structure in named_structures(labels)]
    return {
        "id": request.name or plain_id(Path(request.output).name) or "model",
        "title": request.title,
        "modality": request.modality or " and ".join(dict.fromkeys(filter(None, kinds))),
        "licence": request.licence,
        "data": request.data,
        "anatomy": request.anatomy,
        "labels": structures,
        "structures": list(labels.values()),
    }


def _cases_entries(chosen: ChosenCases) -> Json:
    """Which cases are trained on and chosen by, and what their files hold."""
    return {
        "trained_on": len(chosen.train),
        "chosen_on": len(chosen.val),
        "cases": {
            "train": [case.id for case in chosen.train],
            "val": [case.id for case in chosen.val],
        },
        "contents": {case.id: case.sha256() for case in (*chosen.train, *chosen.val)},
        "data_note": chosen.case_set.assumption,
    }


def _seen(chosen: ChosenCases, start: Bundle | None) -> SeenCases:
    """What the model will have seen, with what the one to fine-tune had seen."""
    val = marks_of_cases(chosen.val)
    before = started_from(start.measured.seen if start else None, val)
    return replace(before, train=marks_of_cases(chosen.train), val=val)


def _base_model(start: Bundle) -> Json:
    keys = ("id", "licence", "accept_licence", "weights_sha256")
    return {key: start.metadata.get(key) for key in keys}


def _grey_settings(plan: DataPlan) -> dict:
    if plan.channels:
        return {FIELD_OF_CHANNELS: channels_as_json(plan.channels)}
    settings: Json = {"normalise": normalisation_text(plan.grey)}
    return settings if plan.grey is None else settings | {"grey": list(plan.grey)}


def _network_config(
    request: TrainRequest, start: Bundle | None, plan: DataPlan, classes: int
) -> NetworkConfig:
    if start:
        return replace(
            _on_grid(NetworkConfig.from_dict(start.metadata["network"]), plan), classes=classes
        )
    if request.preset not in PRESETS:
        raise UserError(f'There is no preset "{request.preset}"; use one of {", ".join(PRESETS)}.')
    channels = len(plan.channels) or 1
    config = replace(_on_grid(PRESETS[request.preset], plan), classes=classes, in_channels=channels)
    options: Json = {
        "source": request.llm,
        "layers": None if request.llm_layer is None else (request.llm_layer,),
        "position": request.llm_position,
    }
    options = {name: value for name, value in options.items() if value is not None}
    if not options:
        return config
    if config.llm is None:
        raise UserError(
            f'The preset "{request.preset}" holds no language model; leave the --llm options out.'
        )
    return replace(config, llm=replace(config.llm, **options))


def _on_grid(config: NetworkConfig, plan: DataPlan) -> NetworkConfig:
    return replace(config, strides=plan.strides) if config.embedding == "stem" else config
