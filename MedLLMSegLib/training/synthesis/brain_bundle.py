"""A brain training's checkpoint -> a bundle that `medllmseg segment` runs.

What ships are the averaged weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from MedLLMSegLib.anatomy.brain import brain_label_table
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json, Triple
from MedLLMSegLib.data.case_digest import scan_digest
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.networks.controls import arm_config
from MedLLMSegLib.registry.bundle import load_strictly, weights_sha256, write_bundle
from MedLLMSegLib.registry.monai_fields import monai_fields
from MedLLMSegLib.registry.monai_inference import inference_config
from MedLLMSegLib.registry.network_config import BRAIN, NetworkConfig
from MedLLMSegLib.registry.seen_cases import FIELD, Marks, SeenCases, started_from
from MedLLMSegLib.training.checkpoint import LAST, read_plan
from MedLLMSegLib.training.segmenter.bundle.segmenter_card import bundle_licence, model_card
from MedLLMSegLib.training.shipped_models import SHIPPED
from MedLLMSegLib.training.small_checkpoint import SmallCheckpoint, checkpoint_of, read_small

from .head_maps import label_map_file, split_names

SMALL = "small.safetensors"  # in a training's folder: the weights, worth keeping
BUNDLE = "bundle"  # in a training's folder
START = "started_from.json"  # in a training's folder: what its start had seen, where it had one
MODEL_ID = "brain-mr"
NO_TOKENS = "none"  # an arm beside those of `networks.controls`
ARMS_WITH_KNOWN_WEIGHTS = (NO_TOKENS, "A", "F")  # what others hold at their heart is in no file
LIMIT_MB = 8.0
WINDOW: Triple = (128, 160, 128)  # a training sample's
# A head goes through at once, which takes a fourth to a seventh of the time of windows with the
# same Dice. In fp32 so many voxels take 4.5 GB.
WHOLE_VOX = 40_000_000
CLOSER_LOOK_MM = 4.0  # 16 mm were worse on six val heads, 4 mm better than no second look


@dataclass(frozen=True, eq=False)
class BrainTraining:
    """What a training left. config: of its network. seed: None where that is not known. before:
    what its weights had seen before its own label maps.
    """

    checkpoint: SmallCheckpoint
    config: NetworkConfig = BRAIN
    arm: str = "F"
    seed: int | None = None
    before: SeenCases = field(default_factory=lambda: started_from(None))

    @property
    def makes_a_model(self) -> bool:
        """Whether all its weights are in files."""
        return self.arm in ARMS_WITH_KNOWN_WEIGHTS


def is_brain_training(source: str | Path) -> bool:
    """Whether this is a checkpoint's file, or the folder of a brain model's training."""
    path = Path(source)
    if path.is_file():
        return path.suffix in (".pt", ".safetensors")
    plan = read_plan(path)
    return "brain" in plan if plan else (path / LAST).is_file() or (path / SMALL).is_file()


def read_training(source: str | Path) -> BrainTraining:
    """The training of a folder, of its last.pt or of a small checkpoint.

    A file does not say which network it is of: arm F of `BRAIN` is assumed. Raises `UserError` for
    what is none of these.
    """
    path = Path(source)
    if path.is_file():
        checkpoint = checkpoint_of(path) if path.suffix == ".pt" else read_small(path)
        return BrainTraining(checkpoint, before=started_from(checkpoint.seen))
    files = [path / name for name in (LAST, SMALL) if (path / name).is_file()]
    if not files:
        raise UserError(
            f'"{path}" holds no training of the brain model ({LAST} is missing); run'
            " `medllmseg train --task brain` first."
        )
    training = replace(read_training(files[0]), before=seen_before(path))
    plan = read_plan(path)
    if plan is None:
        return training
    try:
        chosen, config = plan["brain"], NetworkConfig.from_dict(plan["network"])
        arm, seed = str(chosen["arm"]), int(chosen["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'"{path}" holds the training of another model.') from error
    return replace(training, config=config_of_arm(config, arm), arm=arm, seed=seed)


def config_of_arm(config: NetworkConfig, arm: str) -> NetworkConfig:
    """The network of an arm. config: of arm F, with its block."""
    if arm == NO_TOKENS:
        return replace(config, llm=None, depth=0)
    return arm_config(config, arm)


def export_brain(
    source: str | Path | BrainTraining,
    output: str | Path,
    maps: str | Path,
    size_mb: float = LIMIT_MB,
) -> Path:
    """Write the averaged weights of a training as a bundle, and return its folder.

    source: see `read_training`. maps: the folder of label maps that was trained on; their sha256 go
    into the bundle. size_mb: what the bundle may take at most. Raises `UserError` for weights that
    do not fit their network, or that are too many.
    """
    training = source if isinstance(source, BrainTraining) else read_training(source)
    if not training.makes_a_model:
        raise UserError(
            f"Arm {training.arm} holds a block whose weights are in no file, so it makes no model;"
            f" arms {', '.join(ARMS_WITH_KNOWN_WEIGHTS)} do."
        )
    tensors = training.checkpoint.average
    _check_fp16(tensors)
    stored_mb = 2 * sum(t.numel() for t in tensors.values()) / 1e6
    if stored_mb > size_mb - 0.1:  # a tenth for the texts
        raise UserError(
            f"The weights take {stored_mb:.1f} MB, and {size_mb:g} MB are the limit; train a"
            " smaller network."
        )
    metadata = _described(training, tensors, map_digests(maps)) | {
        FIELD: with_maps(training.before, maps).to_dict()
    }
    metadata |= _block(training.config, tensors) | {"weights_sha256": weights_sha256(tensors)}
    metadata = {**metadata, **monai_fields(metadata)}
    card, licence = model_card(metadata), bundle_licence(metadata)
    return write_bundle(output, metadata, tensors, card, licence, inference_config(metadata))


def _check_fp16(tensors: Mapping[str, Tensor]) -> None:
    """Raises `UserError` for numbers that fp16 does not hold."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor.half()).all()):
            raise UserError(
                f'The weights "{name}" hold numbers that are none or above 65504, which a bundle'
                " cannot store; the training has failed."
            )


def map_digests(folder: str | Path) -> Json:
    """{"train": {name: sha256 of the file}, "val": ...} of the maps that were trained on."""
    folder = Path(folder)
    return {
        part: {stem: _sha256(folder, stem) for stem in stems}
        for part, stems in split_names(folder).items()
    }


def seen_maps(folder: str | Path) -> SeenCases:
    """The label maps that were trained on, as what a measured case is recognised by.

    No image was seen; those that are synthesised from these maps count as seen.
    """
    folder = Path(folder)
    marks = {
        part: Marks(frozenset(_digest(folder, stem) for stem in stems))
        for part, stems in split_names(folder).items()
    }
    return SeenCases(train=marks["train"], val=marks["val"], known=True)


def with_maps(before: SeenCases, folder: str | Path) -> SeenCases:
    """What a training on a folder's label maps has seen in all. before: what its start had."""
    own = seen_maps(folder)
    return replace(own, before=before.before, known=before.known)


def keep_start(output: Path, seen: SeenCases) -> None:
    """Write down what the weights have seen that a training starts from, before it begins."""
    if not (output / LAST).exists():
        write_text(output / START, json.dumps(started_from(seen).to_dict()))


def seen_before(output: Path) -> SeenCases:
    """What `keep_start` wrote; of a training that started from nothing: nothing, which is known."""
    path = Path(output) / START
    if not path.exists():
        return started_from(None)
    return SeenCases.of_bundle({FIELD: json.loads(path.read_text(encoding="utf-8"))})


def _digest(folder: Path, stem: str) -> str:
    return scan_digest(load_volume(label_map_file(folder, stem)))


def _sha256(folder: Path, stem: str) -> str:
    return hashlib.sha256(label_map_file(folder, stem).read_bytes()).hexdigest()


def _described(training: BrainTraining, tensors: Mapping[str, Tensor], digests: Json) -> Json:
    """What the model says of itself; nothing has been measured yet."""
    facts = SHIPPED[MODEL_ID]
    checkpoint = training.checkpoint
    return {
        "kind": "segmenter",
        **facts,
        "accuracy": "not measured",
        "network": training.config.to_dict(),
        "label_table": brain_label_table().tolist(),
        "preprocessing": {
            "spacing_mm": 1.0,
            "axes": "ras",
            "window": list(WINDOW),
            "whole_vox": WHOLE_VOX,
            "closer_look_mm": CLOSER_LOOK_MM,
            "keep_largest": "both",
            "intensity": "0.5th to 99.5th percentile, then mean 0 and standard deviation 1",
        },
        "parameters": sum(t.numel() for t in tensors.values()),
        "training": {
            "arm": training.arm,
            "seed": training.seed,
            "step": checkpoint.step,
            "hours": round(checkpoint.seconds / 3600, 2),
        },
        "label_maps": digests,
        "results": None,
    }


def _block(config: NetworkConfig, tensors: Mapping[str, Tensor]) -> Json:
    """The language model's layers, after a trial: the weights must fill the network."""
    if config.llm is None:
        load_strictly(build_network(config, None), dict(tensors))
        return {}
    weights = resolve(config.llm.source, config.llm.layers)
    load_strictly(build_network(config, weights), dict(tensors), frozen_prefix="llm.llm.")
    return {
        "llm_sha256": weights.sha256,
        "llm_licence": weights.licence,
        "llm": f"{config.llm.source}, layer {', '.join(map(str, config.llm.layers))}",
    }
