"""A bundle ready to run: its network with verified weights, and what the pipeline must know of
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from MedLLMSegLib.anatomy.structures import STRUCTURES_OF_ANATOMY
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.memory import is_out_of_memory
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import Bundle, load_strictly, read_bundle
from MedLLMSegLib.registry.catalogue import (
    DEFAULT_SEGMENTER,
    ModelEntry,
    find_model,
    require_licence,
)
from MedLLMSegLib.registry.network_config import NetworkConfig
from MedLLMSegLib.registry.segmenter_settings import largest_part_rule

from .inference import ON_CPU, choose_device, free_memory, memory_notes
from .localize import Localizer

CASCADE_SETTINGS = (
    "spacing_mm",
    "search_shape",
    "margin_low_vox",
    "margin_high_vox",
    "plausible_ml",
)
WHOLE_SETTINGS = (
    "spacing_mm",
)  # and "axes", "window", "flips", "keep_largest", which have defaults


@dataclass(frozen=True, eq=False)
class SegmenterModel:
    """A bundle ready to run.

    settings: its metadata's "preprocessing". anatomy: a key of `STRUCTURES_OF_ANATOMY` for an organ that
    is looked for and outlined in crops, or None for a model of whole scans, whose structures are
    then given, in order of class. localizer: None for a model without cascade. sha256: of all the
    weights that take part. temperature: what the logits are divided by. notes: what the user should
    know whenever it is used.
    """

    entry: ModelEntry
    network: nn.Module
    settings: dict
    anatomy: str | None
    localizer: Localizer | None
    device: torch.device
    sha256: str
    structures: tuple[Structure, ...] = ()
    temperature: float = 1.0
    notes: tuple[str, ...] = ()


def load_model(name: str | Path = DEFAULT_SEGMENTER, device: str = "auto") -> SegmenterModel:
    """Read and verify a bundle, its language-model layers and its localizer. name: an id or a
    bundle's folder.

    Where a GPU's memory is too full for it, it comes on the CPU, with a note that says so.
    Raises `UserError` also for a licence that is still to be accepted.
    """
    return load_onto(find_model(name), device, _build_model)


def load_onto(entry: ModelEntry, device: str, build: Callable):
    """What ``build(entry, bundle, torch_device)`` makes of a bundle, on the CPU where a GPU's
    memory is too full for it.

    What it makes is a frozen dataclass with a field `notes`. Raises `UserError` as `load_model`
    does.
    """
    torch_device = choose_device(device)
    require_licence(entry)
    bundle = read_bundle(entry.folder)
    try:
        return _build_where_it_fits(entry, bundle, torch_device, build)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f'The description of the model bundle "{entry.folder}" is damaged '
            f"({type(error).__name__}: {error}); install it again."
        ) from error


def _build_where_it_fits(entry: ModelEntry, bundle: Bundle, device: torch.device, build: Callable):
    try:
        return build(entry, bundle, device)
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    free_memory(device)
    return replace(build(entry, bundle, torch.device("cpu")), notes=memory_notes([ON_CPU], device))


def _build_model(entry: ModelEntry, bundle: Bundle, device: torch.device) -> SegmenterModel:
    about = bundle.metadata
    config, settings, anatomy = (
        NetworkConfig.from_dict(about["network"]),
        dict(about["preprocessing"]),
        about["anatomy"],
    )
    missing = [k for k in (CASCADE_SETTINGS if anatomy else WHOLE_SETTINGS) if k not in settings]
    missing += [anatomy] if anatomy and anatomy not in STRUCTURES_OF_ANATOMY else []
    if missing:
        raise KeyError(missing[0])
    largest_part_rule(settings)  # before a scan waits for it
    settings.setdefault(
        "flips", (about.get("plan") or {}).get("flips", ())
    )  # as its training was planned
    structures = () if anatomy else _structures(about["labels"], config.classes)
    weights = resolve(config.llm.source, config.llm.layers) if config.llm else None
    if weights is not None and weights.sha256 != about["llm_sha256"]:
        raise UserError(
            f'The language-model layer "{config.llm.source}" on this computer is not the one that '
            f'"{entry.id}" was trained with; run `medllmseg llm verify`.'
        )
    network = build_network(config, weights)
    load_strictly(
        network,
        bundle.tensors,
        frozen_prefix="llm.llm." if config.llm and config.llm.frozen else None,
    )
    place = find_model(about["localizer"], "localizer") if about.get("localizer") else None
    localizer = Localizer.from_bundle(read_bundle(place.folder)) if place else None
    sha256 = "+".join(e.sha256 for e in (entry, place) if e)
    temperature = float((about.get("calibration") or {}).get("temperature", 1.0))
    if not temperature > 0:
        raise ValueError(f"temperature {temperature}")
    return SegmenterModel(
        entry,
        network.eval().to(device),
        settings,
        anatomy,
        localizer,
        device,
        sha256,
        structures,
        temperature,
    )


def _structures(labels: list[dict], classes: int) -> tuple[Structure, ...]:
    structures = tuple(Structure.from_dict(each) for each in labels)
    if len(structures) != classes - 1 or len({s.label for s in structures}) < len(structures):
        raise ValueError(f"{len(structures)} labels, {classes - 1} different ones are needed")
    return structures
