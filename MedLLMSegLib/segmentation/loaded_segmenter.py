"""A bundle ready to run: its network with verified weights, and what the pipeline needs to know
about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from MedLLMSegLib.anatomy.structures import STRUCTURES_OF_ANATOMY
from MedLLMSegLib.core.errors import UserError, error_in_short
from MedLLMSegLib.core.memory import is_out_of_memory
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Array, Json, Triple
from MedLLMSegLib.engines.engine_names import TORCH, check_engine
from MedLLMSegLib.engines.engine_network import EngineNetwork
from MedLLMSegLib.engines.graph import FP32
from MedLLMSegLib.engines.network_graphs import engine_network
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.networks.parameter_limit import parameter_limit
from MedLLMSegLib.registry.bundle import Bundle, load_strictly, read_bundle
from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER, ModelEntry, find_model
from MedLLMSegLib.registry.domain_reference import DomainReference, read_domain
from MedLLMSegLib.registry.input_channels import InputChannel, channels_of
from MedLLMSegLib.registry.licences import require_licence
from MedLLMSegLib.registry.network_config import NetworkConfig
from MedLLMSegLib.registry.segmenter_settings import largest_part_rule
from MedLLMSegLib.registry.trained_range import TrainedRange

from .expected_dice import DiceLines, read_lines
from .inference import ON_CPU, choose_device, free_memory, memory_notes
from .kept_precision import Precision
from .localizer import Localizer
from .precision import AUTO, NetworkInUse, check_precision, decide
from .quality.fitted import QualityFit, read_quality
from .scores import Reading

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    LoadedModel = TypeVar("LoadedModel", bound=DataclassInstance)
    Build = Callable[[ModelEntry, Bundle, torch.device], LoadedModel]

# What a bundle's "preprocessing" must state. A whole-scan model may also state "axes", "window",
# "flips" and "keep_largest", which have defaults.
CASCADE_SETTINGS = (
    "spacing_mm",
    "search_shape",
    "margin_low_vox",
    "margin_high_vox",
    "plausible_ml",
)
WHOLE_SETTINGS = ("spacing_mm",)


@dataclass(frozen=True, eq=False)
class SegmenterModel:
    """A bundle ready to run.

    settings: its metadata's "preprocessing". anatomy: a key of `STRUCTURES_OF_ANATOMY` for an
    organ that is located and outlined in crops, or None for a model of whole scans. localizer:
    None for a model without cascade. sha256: of the measured model (`registry.measured_model`):
    what is made or measured with it carries this hash. structures: of a model of whole scans, in
    order of class. temperature: what the logits are divided by. notes:
    what the user should know whenever the model is used. precision: what was asked for, "auto",
    "fp32" or "bf16". label_table: for each class of a network that tells sides apart its labels
    (left, right), equal where it has no side; None for other networks. dice_lines: see
    `expected_dice`. quality: what was fitted for this very model, else None. domain: by what a scan
    of another domain is told, or None where the bundle has no such reference. domain_network: the
    network of torch that sees the domain where an engine runs the other; None for `network` itself.
    trained_range: the spacings of its training, or None where the bundle does not say.
    """

    entry: ModelEntry
    network: nn.Module
    settings: Json
    anatomy: str | None
    localizer: Localizer | None
    device: torch.device
    sha256: str
    structures: tuple[Structure, ...] = ()
    temperature: float = 1.0
    notes: tuple[str, ...] = ()
    precision: str = FP32
    label_table: tuple[tuple[int, int], ...] | None = None
    dice_lines: DiceLines = field(default_factory=dict)
    quality: QualityFit | None = None
    domain: DomainReference | None = None
    domain_network: nn.Module | None = None
    trained_range: TrainedRange | None = None

    def with_precision(self, precision: str) -> SegmenterModel:
        """The same model, asked to run in "auto", "fp32" or "bf16"."""
        check_precision(precision, self.engine)
        return replace(self, precision=precision)

    @property
    def engine(self) -> str:
        """What runs the network: "torch", "openvino" or "onnx"."""
        return self.network.engine if isinstance(self.network, EngineNetwork) else TORCH

    def in_engine(self, engine: str) -> SegmenterModel:
        """The same model with its networks in another engine, on the CPU.

        The graphs are made when they are first needed, and kept in the cache folder. Raises
        `UserError` where the engine is not installed.
        """
        check_engine(engine)
        if engine == self.engine:
            return self
        with_features = self.domain_network or self.network  # a graph gives none
        return replace(
            self,
            network=engine_network(self.network, engine, self.sha256),
            localizer=self.localizer.in_engine(engine) if self.localizer else None,
            device=torch.device("cpu"),
            domain_network=with_features if self.domain else None,
        )

    @cached_property
    def channels(self) -> tuple[InputChannel, ...]:
        """The images of a patient that the model takes; () for one image without a name."""
        return channels_of(self.settings)

    @cached_property
    def reading(self) -> Reading:
        """How the network's outputs are read."""
        if self.label_table is None:
            return Reading(1 + len(self.structures_for(lateral=False)), self.temperature)
        paired = tuple(left != right for left, right in self.label_table)
        return Reading(len(paired), self.temperature, paired)

    def label_of_number(self, side: str | None = None) -> NDArray[np.uint8]:
        """The label of each number of a winner (`Reading`).

        side: of an organ that was outlined in a crop; the right one's labels follow the left one's.
        """
        if self.label_table is not None:
            return np.array(self.label_table, np.uint8).T.reshape(-1)
        labels = [s.label for s in self.structures_for(lateral=side is not None)]
        if side is not None:
            half = len(labels) // 2
            labels = labels[half:] if side == "right" else labels[:half]
        return np.array([0, *labels], np.uint8)

    def precision_for(
        self, array: Array, window: Triple, progress: Report | None = None
    ) -> Precision:
        """The precision of `network`, decided by a prepared scan where that was not done before.

        array: float32 [k, j, i]. window, progress: as for `precision.decide`.
        """
        return decide(self._in_use, array, window, progress)

    def settled_precision(self) -> Precision | None:
        """The precision of `network` where it is known without a scan."""
        return self._in_use.settled()

    def settled_precisions(self) -> dict[str, str | None]:
        """The precision of "network", and of "localizer" in a cascade, by name; None where it is
        to be decided by a scan.
        """
        known = {"network": self.settled_precision()}
        if self.localizer is not None:
            known["localizer"] = self.localizer.settled_precision(self.device, self.precision)
        return {name: each.name if each else None for name, each in known.items()}

    @property
    def precision_why(self) -> str:
        """The sentence on the precision, with what was measured; "" while it is not known."""
        settled = self.settled_precision()
        return settled.why if settled else ""

    @cached_property
    def _in_use(self) -> NetworkInUse:
        return NetworkInUse(
            self.network,
            self.device,
            self.precision,
            self.sha256,
            labels=lambda logits: self.reading.winners(logits[0])[None],
        )

    def structures_for(self, lateral: bool) -> tuple[Structure, ...]:
        """The structures that the model looks for.

        lateral: whether the sides of an organ are known; without effect for a model of whole scans.
        """
        return (
            STRUCTURES_OF_ANATOMY[self.anatomy](lateral=lateral)
            if self.anatomy
            else self.structures
        )


def load_model(
    name: str | Path = DEFAULT_SEGMENTER,
    device: str = "auto",
    precision: str = AUTO,
    engine: str = TORCH,
) -> SegmenterModel:
    """Read and verify a bundle, its language-model layers and its localizer.

    name: an id or a bundle's folder. device: see `choose_device`. precision: "fp32", "bf16", or
    "auto" for bf16 on a CPU that has it, if it was measured there to give the same labels faster.
    engine: what runs its networks, "torch", or "openvino" or "onnx" on the CPU (see `in_engine`).
    Where a GPU's memory is too full for the model, it is loaded onto the CPU, with a note. Raises
    `UserError`, also for a licence that has not been accepted yet.
    """
    check_engine(engine)
    check_precision(precision, engine)
    if engine != TORCH:
        if device not in ("auto", "cpu"):
            raise UserError(
                f'The engine {engine} runs on the CPU, and the device "{device}" was asked for; use'
                " the engine torch, or leave the device out."
            )
        device = "cpu"
    model = load_onto(find_model(name), device, _build_model).in_engine(engine)
    return model.with_precision(precision)


def load_onto(entry: ModelEntry, device: str, build: Build[LoadedModel]) -> LoadedModel:
    """What ``build(entry, bundle, torch_device)`` makes of a bundle, on the CPU where a GPU's
    memory is too full for it.

    ``build`` returns a frozen dataclass with a field `notes`. Raises `UserError` as `load_model`
    does.
    """
    torch_device = choose_device(device)
    require_licence(entry)
    bundle = read_bundle(entry.folder)
    try:
        return _build_where_it_fits(entry, bundle, torch_device, build)
    except RuntimeError as error:  # torch's, of sizes that make no network
        if is_out_of_memory(error) and torch_device.type != "cpu":
            raise
        raise _damaged(entry, error) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _damaged(entry, error) from error


def _damaged(entry: ModelEntry, error: Exception) -> UserError:
    return UserError(
        f'The description of the model bundle "{entry.folder}" is damaged'
        f" ({error_in_short(error)}); install it again."
    )


def _build_where_it_fits(
    entry: ModelEntry, bundle: Bundle, device: torch.device, build: Build[LoadedModel]
) -> LoadedModel:
    try:
        return build(entry, bundle, device)
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    free_memory(device)
    on_cpu = build(entry, bundle, torch.device("cpu"))
    return replace(on_cpu, notes=memory_notes([ON_CPU], device))


def _build_model(entry: ModelEntry, bundle: Bundle, device: torch.device) -> SegmenterModel:
    metadata = bundle.metadata
    config = NetworkConfig.from_dict(metadata["network"])
    anatomy = metadata["anatomy"]
    settings = _checked_settings(metadata)
    structures = () if anatomy else _structures(metadata["labels"], config)
    network = _build_network(entry, bundle, config)
    if config.norm != "instance":  # a sixth faster so, on a CPU
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    localizer = None
    if metadata.get("localizer"):
        localizer_folder = find_model(metadata["localizer"], "localizer").folder
        localizer = Localizer.from_bundle(read_bundle(localizer_folder))
    temperature = float((metadata.get("calibration") or {}).get("temperature", 1.0))
    if not temperature > 0:
        raise ValueError(f"temperature {temperature}")
    return SegmenterModel(
        entry=entry,
        network=network.eval().to(device),
        settings=settings,
        anatomy=anatomy,
        localizer=localizer,
        device=device,
        sha256=bundle.measured.sha256,
        structures=structures,
        temperature=temperature,
        label_table=_label_table(metadata, config, structures),
        dice_lines=read_lines(metadata),
        quality=read_quality(metadata, bundle.measured.sha256),
        domain=read_domain(bundle.folder, metadata, bundle.measured),
        trained_range=TrainedRange.of_bundle(metadata),
    )


def _label_table(
    metadata: Json, config: NetworkConfig, structures: tuple[Structure, ...]
) -> tuple[tuple[int, int], ...] | None:
    """Of a network that tells sides apart. Raises `KeyError` or `ValueError` for a damaged one."""
    if not config.sides:
        return None
    table = tuple((int(left), int(right)) for left, right in metadata["label_table"])
    labels = {s.label for s in structures}
    if len(table) != config.classes or {n for row in table for n in row} != {0, *labels}:
        raise ValueError("label_table does not fit the classes and the labels")
    return table


def _checked_settings(metadata: Json) -> Json:
    """A bundle's "preprocessing", complete. Raises `KeyError` or `ValueError` for a damaged one."""
    settings, anatomy = dict(metadata["preprocessing"]), metadata["anatomy"]
    for name in CASCADE_SETTINGS if anatomy else WHOLE_SETTINGS:
        if name not in settings:
            raise KeyError(name)
    if anatomy and anatomy not in STRUCTURES_OF_ANATOMY:
        raise KeyError(anatomy)
    channels = len(channels_of(settings)) or 1
    if channels != metadata["network"].get("in_channels", 1):
        raise ValueError(f"{channels} channels, and a network of another number")
    largest_part_rule(settings)  # a wrong rule is refused now, and not after a scan's inference
    planned_flips = (metadata.get("plan") or {}).get("flips", ())
    settings.setdefault("flips", planned_flips)
    return settings


def _build_network(entry: ModelEntry, bundle: Bundle, config: NetworkConfig) -> nn.Module:
    """The network with the bundle's weights and the verified language-model layer."""
    if config.llm is None:
        with parameter_limit(bundle.tensors):
            network = build_network(config, None)
        load_strictly(network, bundle.tensors)
        return network
    weights = resolve(config.llm.source, config.llm.layers)
    if weights.sha256 != bundle.metadata["llm_sha256"]:
        raise UserError(
            f'The language-model layer "{config.llm.source}" on this computer is not the one that '
            f'"{entry.id}" was trained with; run `medllmseg llm verify`.'
        )
    with parameter_limit(bundle.tensors, weights):
        network = build_network(config, weights)
    frozen_prefix = "llm.llm." if config.llm.frozen else None
    load_strictly(network, bundle.tensors, frozen_prefix=frozen_prefix)
    return network


def _structures(labels: list[Json], config: NetworkConfig) -> tuple[Structure, ...]:
    structures = tuple(Structure.from_dict(each) for each in labels)
    needed = len(structures) if config.sides else config.classes - 1
    if len(structures) != needed or len({s.label for s in structures}) < len(structures):
        raise ValueError(f"{len(structures)} labels, {needed} different ones are needed")
    return structures
