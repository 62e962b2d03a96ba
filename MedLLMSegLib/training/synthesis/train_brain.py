"""`train_brain`: whole-head label maps in, the brain model's weights out. The public function of
this training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, make_folder
from MedLLMSegLib.core.types import Json, Triple
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.networks.controls import arm_config, build_arm, count_parameters
from MedLLMSegLib.networks.segmentation.segmenter import MedVisionLlama
from MedLLMSegLib.registry.bundle import Bundle, read_bundle
from MedLLMSegLib.registry.catalogue import METADATA
from MedLLMSegLib.registry.network_config import BRAIN, NetworkConfig
from MedLLMSegLib.registry.seen_cases import SeenCases
from MedLLMSegLib.training.devices import make_fabric, precision_of
from MedLLMSegLib.training.loop_config import NO_LIMIT, LoopConfig
from MedLLMSegLib.training.small_checkpoint import (
    SmallCheckpoint,
    checkpoint_of,
    read_small,
    write_small,
)
from MedLLMSegLib.training.trainer import Trainer

from .brain_bundle import (
    NO_TOKENS,
    SMALL,
    config_of_arm,
    keep_start,
    seen_before,
    with_maps,
)
from .head_maps import HeadMap, label_map_file, load_head_map, split_names
from .synthetic_heads import HeadsConfig, SyntheticHeads

USUAL_MINUTES = 60.0
CHECKPOINT_S = 180.0
HeadMaps: TypeAlias = dict[str, list[HeadMap]]  # "train" and "val"


@dataclass(frozen=True)
class BrainRequest:
    """What a user asks for. The training may be made longer later, and go on elsewhere.

    source: a folder of label maps with its splits.json. output: the run's folder. arm: "none" for
    no tokens at all, or one of `networks.controls.ARMS`. minutes, steps: the budget, earlier runs
    included; an hour where neither is given. start: another training's small checkpoint
    (.safetensors) or last.pt, or a finished model's folder, to start from. decay: the last part of
    the budget, over which the learning rate falls to nothing. shape: voxels (k, j, i) of a sample.
    """

    source: str
    output: str
    arm: str = "F"
    seed: int = 0
    shape: Triple = HeadsConfig.shape
    minutes: float | None = None
    steps: int | None = None
    decay: float = 0.0
    lr: float = 3e-3
    batch: int = 1
    precision: str | None = None
    start: str | None = None
    validate_every: int = 500
    val_shape: Triple = HeadsConfig.val_shape
    val_images: int = HeadsConfig.val_images

    def __post_init__(self) -> None:
        for name in ("minutes", "steps", "lr", "batch", "val_images"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"--{name} is {value}, and must be above 0 and not infinite.")
        if not 0 <= self.decay <= 1:
            raise UserError(f"--decay is {self.decay}, and must be a share from 0 to 1.")
        if self.seed < 0:
            raise UserError(f"--seed is {self.seed}, and must be 0 or more.")


def train_brain(
    request: BrainRequest,
    device: str = "auto",
    progress: Report | None = None,
    say: Callable[[str], None] = print,
    *,
    config: NetworkConfig = BRAIN,
    maps: HeadMaps | None = None,
) -> Path:
    """Train, or go on with, what is asked for, and return the file of the averaged weights.

    progress: called with (a line of text, fraction done); may raise `Cancelled`, after which the
    same call goes on. say: takes lines about maps and network. config: of arm F. maps: those of
    the source, where they have been read already.
    """
    check_writable(request.output)
    refuse_uneven(request, config)
    output, report = make_folder(request.output), Progress.of(progress)
    own_maps = maps is None
    maps = maps or read_maps(request.source, report.part(0.0, 0.0))
    fabric = make_fabric(device, request.precision)
    network = brain_network(request.arm, request.seed, config)
    if fabric.is_global_zero:
        say(_summary(request, network, maps, precision_of(fabric)))
    trainer = Trainer(
        network,
        _recipe(request, config, maps, fabric.device),
        _loop(request, precision_of(fabric)),
        output,
        _about(request, config),
        fabric=fabric,
        minutes=_minutes(request),
        on_validation=_watcher(output) if fabric.is_global_zero else None,
    )
    if request.start:
        start = _started_from(request.start)
        trainer.start_from(start)
        if fabric.is_global_zero:
            keep_start(output, start.seen)
    if trainer.state.step and fabric.is_global_zero:
        say(f"goes on at step {trainer.state.step}")
    trainer.run(report)
    state = trainer.state
    if fabric.is_global_zero:
        seen = with_maps(seen_before(output), request.source) if own_maps else SeenCases()
        kept = SmallCheckpoint(state.average, state.average, state.step, state.seconds, seen)
        write_small(output / SMALL, kept)
    return output / SMALL


def read_maps(source: str | Path, progress: Progress) -> HeadMaps:
    """The label maps to train on and to score. Raises `UserError` where the folder states none."""
    folder = Path(source)
    names = split_names(folder)
    maps: HeadMaps = {}
    for part, stems in names.items():
        maps[part] = []
        for number, stem in enumerate(stems):
            progress(f"reading label map {stem}", number / len(stems))
            maps[part].append(load_head_map(label_map_file(folder, stem)))
        if not maps[part]:
            raise UserError(f'The list "{part}" of "{folder / "splits.json"}" is empty.')
    return maps


def brain_network(arm: str, seed: int, config: NetworkConfig = BRAIN) -> MedVisionLlama:
    """The network of an arm with its seed's weights. config: of arm F, with its block."""
    if arm == NO_TOKENS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(config_of_arm(config, arm))
    else:
        llm = arm_config(config, arm).llm
        weights = resolve(llm.source, llm.layers) if llm else None
        network = build_arm(config, arm, weights, seed)  # type: ignore[assignment]  # J is refused
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stubs know no memory_format here


def refuse_uneven(request: BrainRequest, config: NetworkConfig) -> None:
    """Raises `UserError` for samples that the network would pad."""
    if any(n < m or n % m for n, m in zip(request.shape, config.patch, strict=True)):
        raise UserError(
            f"--shape is {' '.join(map(str, request.shape))}, and each must be a multiple of"
            f" {' '.join(map(str, config.patch))}."
        )


def _recipe(
    request: BrainRequest, config: NetworkConfig, maps: HeadMaps, device: torch.device
) -> SyntheticHeads:
    heads = HeadsConfig(request.shape, request.val_shape, request.val_images, decay=request.decay)
    return SyntheticHeads(heads, config.fold, maps["train"], maps["val"], request.seed, device)


def _loop(request: BrainRequest, precision: str) -> LoopConfig:
    return LoopConfig(
        steps=request.steps or NO_LIMIT,
        batch=request.batch,
        optimiser="muon",
        lr=request.lr,
        ema=0.999,
        validate_every=request.validate_every,
        precision=precision,
        log_every=50,
        checkpoint_s=CHECKPOINT_S,
        seed=request.seed,
    )


def _minutes(request: BrainRequest) -> float | None:
    return request.minutes or (None if request.steps else USUAL_MINUTES)


def _about(request: BrainRequest, config: NetworkConfig) -> Json:
    """What may not change in a folder: not the budget, the precision, or where the maps lie."""
    fixed = ("arm", "seed", "shape", "lr", "batch")
    chosen = {name: value for name, value in asdict(request).items() if name in fixed}
    about: Json = json.loads(json.dumps({"brain": chosen, "network": config.to_dict()}))
    return about


def _started_from(path: str) -> SmallCheckpoint:
    if (Path(path) / METADATA).is_file():
        return _of_bundle(read_bundle(path))
    return checkpoint_of(path) if path.endswith(".pt") else read_small(path)


def _of_bundle(bundle: Bundle) -> SmallCheckpoint:
    """A finished model as the start of a longer training."""
    training = bundle.metadata.get("training") or {}
    if "step" not in training:
        raise UserError(
            f'The model "{bundle.metadata["id"]}" does not say how long it was trained, so no'
            " training can go on from it; give a small checkpoint or a last.pt."
        )
    seconds = 3600.0 * training["hours"]
    seen = SeenCases.of_bundle(bundle.metadata)
    return SmallCheckpoint(bundle.tensors, bundle.tensors, training["step"], seconds, seen)


def _summary(request: BrainRequest, network: MedVisionLlama, maps: HeadMaps, precision: str) -> str:
    counts = count_parameters(network)
    return (
        f"arm {request.arm}, {counts['trained']} parameters trained and {counts['frozen']} frozen,"
        f" {len(maps['train'])} label maps to train on and {len(maps['val'])} to score, {precision}"
    )


def _watcher(output: Path) -> Callable[..., None]:
    from MedLLMSegLib.training.curves import Watcher  # matplotlib comes with it

    return Watcher(output, output.name)
