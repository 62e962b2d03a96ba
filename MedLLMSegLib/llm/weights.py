"""Read some layers of a Llama-family checkpoint (Llama, Mistral, Qwen2), or save them in a small
file.

A checkpoint is a GGUF file, a Hugging Face folder (``config.json`` and safetensors, sharded or
not), or a file of :func:`save_layers`. Only the tensors of the wanted layers are read. Nothing is
unpickled.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from MedLLMSegLib.core.errors import UserError, in_short
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.types import Json, PathLike

from .gguf_file import read_gguf
from .llama import (
    LlamaConfig,
    LlamaWeights,
    Tensors,
    checked_layer,
    layer_numbers,
    layer_sha256,
    tensor_shapes,
    weights_sha256,
)

__all__ = [
    "LlamaConfig",
    "LlamaWeights",
    "layer_sha256",
    "read_layers",
    "save_layers",
    "tensor_shapes",
    "weights_sha256",
]

FORMAT = "medllmseg-llm-layers-1"
METADATA_KEY = "medllmseg"  # one key only: safetensors writes several in random order
HF_MODEL_TYPES = ("llama", "mistral", "qwen2")


def read_layers(path: PathLike, layers: Sequence[int]) -> LlamaWeights:
    """Read some layers; a negative number counts from the model's end.

    path: a GGUF file, a Hugging Face folder (or a file in it), or a file of :func:`save_layers`;
    the content decides which. Tensors keep their stored type; quantised ones become float32. Raises
    `UserError` for anything else.
    """
    path = Path(path)
    if not layers:
        raise UserError(
            f"No layer of {path.name} was asked for; name at least one, such as -1 for the last."
        )
    if path.is_dir():
        return _read_folder(path, layers)
    if path.suffix in (".json", ".safetensors") and (path.parent / "config.json").is_file():
        return _read_folder(path.parent, layers)
    try:
        with open(path, "rb") as file:
            head = file.read(9)
    except OSError as error:
        raise UserError(
            f"The language model {path} cannot be read ({error.strerror}); check the path."
        ) from error
    if head[:4] == b"GGUF":
        return read_gguf(path, layers)
    if head[8:9] == b"{":
        return _read_own(path, layers)
    if head[:2] == b"PK" or head[:1] == b"\x80":
        raise UserError(
            f"{path.name} is a pickle file, which can run code when opened; convert it to"
            " safetensors or GGUF and choose that file."
        )
    raise UserError(
        f"{path.name} is neither a GGUF nor a safetensors file; choose one of these or a Hugging"
        " Face folder with config.json, and download it again if it should be one."
    )


def save_layers(weights: LlamaWeights, path: PathLike) -> None:
    """Write the layers as bfloat16 safetensors, atomically and with the same bytes each time.

    Raises `UserError` if the file cannot be written.
    """
    path = Path(path)
    layers = dict(sorted(weights.layers.items()))
    metadata = {
        "format": FORMAT,
        "config": weights.config.to_dict(),
        "source": weights.source,
        "licence": weights.licence,
        "sha256": weights_sha256(layers),
        "layers": {str(layer): layer_sha256(tensors) for layer, tensors in layers.items()},
    }
    tensors_by_name = {
        f"model.layers.{layer}.{name}": tensors[name].to(torch.bfloat16).contiguous()
        for layer, tensors in layers.items()
        for name in sorted(tensors)
    }
    text = json.dumps(metadata, sort_keys=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        save_file(tensors_by_name, temporary, metadata={METADATA_KEY: text})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} could not be written ({error}); choose a folder you may write to, "
            "with enough space."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


# ---- safetensors ----


def _read_folder(folder: Path, layers: Sequence[int]) -> LlamaWeights:
    """A folder of ``save_pretrained``: config.json, model.safetensors or its index and shards."""
    config = _config_from_hf(_read_json(folder / "config.json"), folder)
    files = _files_by_tensor(folder)
    read = {
        layer: _read_safetensors_layer(config, layer, files, folder.name)
        for layer in layer_numbers(layers, config, folder.name)
    }
    return LlamaWeights(config, read, folder.name, weights_sha256(read))


def _files_by_tensor(folder: Path) -> dict[str, Path]:
    """The file that holds each tensor, by the tensor's name."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = _read_json(index).get("weight_map", {})
        if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
            raise UserError(
                f"{index.name} in {folder} does not say which file holds which tensor; download the"
                " model again, whole."
            )
        return {name: folder / Path(shard).name for name, shard in shards.items()}
    single = folder / "model.safetensors"
    if not single.is_file():
        raise UserError(
            f"{folder} holds no model.safetensors; pickled .bin and .pt files are not opened, so "
            "download or convert the model as safetensors."
        )
    with _open_safetensors(single) as file:
        return dict.fromkeys(file.keys(), single)


def _read_own(path: Path, layers: Sequence[int]) -> LlamaWeights:
    """A file of :func:`save_layers`. Each layer is compared with the sha256 in its metadata."""
    with _open_safetensors(path) as file:
        files = dict.fromkeys(file.keys(), path)
        metadata = _own_metadata(file)
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"{path.name} holds tensors and no model configuration; choose the folder with its "
            "config.json instead."
        )
    config = LlamaConfig.from_dict(metadata["config"])
    sha256_by_layer = metadata["layers"]
    read = {}
    for layer in layer_numbers(layers, config, path.name):
        if str(layer) not in sha256_by_layer:
            raise UserError(
                f"{path.name} holds layer {', '.join(sha256_by_layer)} and layer {layer} was asked"
                " for; choose a layer it holds or another file."
            )
        read[layer] = _read_safetensors_layer(config, layer, files, path.name)
        if layer_sha256(read[layer]) != sha256_by_layer[str(layer)]:
            raise UserError(
                f"Layer {layer} in {path.name} is not what was written there (its sha256 differs); "
                "delete the file and fetch it again."
            )
    sha256 = weights_sha256(read)
    return LlamaWeights(config, read, metadata["source"], sha256, metadata["licence"])


def _own_metadata(file: safe_open) -> Json:
    """The metadata that :func:`save_layers` wrote; empty if there are none."""
    try:
        metadata = parse_json((file.metadata() or {}).get(METADATA_KEY, ""))
    except ValueError:
        return {}
    needed = {"config", "layers", "licence", "source"}
    return metadata if isinstance(metadata, dict) and needed <= set(metadata) else {}


def _read_safetensors_layer(
    config: LlamaConfig, layer: int, files: Mapping[str, Path], origin: str
) -> Tensors:
    """One layer's tensors. Only the files that hold some of them are opened."""
    short_names: dict[str, str] = {}
    # A causal model has the first prefix, the bare LlamaModel the second.
    for prefix in (f"model.layers.{layer}.", f"layers.{layer}."):
        in_layer = (name for name in files if name.startswith(prefix))
        short_names |= {name: name.removeprefix(prefix) for name in in_layer}
    tensors: Tensors = {}
    for path in sorted({files[name] for name in short_names}):
        with _open_safetensors(path) as file:
            for name in file.keys():  # noqa: SIM118 (a file of safetensors is no mapping)
                if name in short_names and files[name] == path:
                    tensors[short_names[name]] = file.get_tensor(name)
    return checked_layer(config, layer, tensors, origin)


@contextmanager
def _open_safetensors(path: Path) -> Iterator[safe_open]:
    """An open file, whose errors become `UserError`."""
    if not path.is_file():
        raise UserError(
            f"{path.parent.name} lacks its file {in_short(path.name)}, which holds tensors that are"
            " needed; "
            "download the model again, whole."
        )
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path.name} is cut short or not a safetensors file; download it again."
        ) from error


def _read_json(path: Path) -> Json:
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path.parent} has no readable {path.name}; choose the folder that a Hugging Face"
            " model was downloaded to."
        ) from error
    return values if isinstance(values, dict) else {}


def _config_from_hf(values: Mapping[str, Any], folder: Path) -> LlamaConfig:
    """The sizes in a Hugging Face config.json. Raises `UserError` for other kinds of model."""
    model_type = values.get("model_type")
    activation = values.get("hidden_act", "silu")
    if model_type not in HF_MODEL_TYPES or activation != "silu":
        raise UserError(
            f"{folder.name} is a model of type {in_short(repr(model_type))} with activation"
            f" {in_short(repr(activation))}; one of {', '.join(HF_MODEL_TYPES)} with 'silu' is"
            " needed, so choose another model."
        )
    needed = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
    missing = [key for key in needed if not isinstance(values.get(key), int)]
    if missing:
        raise UserError(
            f"config.json in {folder} gives no whole number for {', '.join(missing)}; download the"
            " model again, whole."
        )
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    rope = rope if isinstance(rope, dict) else {"rope_type": "unknown"}
    heads = values["num_attention_heads"]
    return LlamaConfig(
        hidden_size=values["hidden_size"],
        intermediate_size=values["intermediate_size"],
        num_heads=heads,
        num_key_value_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or values["hidden_size"] // max(heads, 1),
        rope_theta=_as_float(rope.get("rope_theta") or values.get("rope_theta") or 10000.0),
        rms_norm_eps=_as_float(values.get("rms_norm_eps", 1e-6)),
        num_layers=values["num_hidden_layers"],
        rope_type=_rope_type(values, rope),
    )


def _as_float(value: object) -> Any:
    """A number as float; anything else as it is, for `LlamaConfig` to refuse."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return float(value) if abs(value) < 1e300 else value


def _rope_type(values: Mapping[str, Any], rope: Mapping[str, Any]) -> str:
    """The kind of rotary embedding; "partial" if it covers only a part of each head."""
    factor = rope.get("partial_rotary_factor") or values.get("partial_rotary_factor") or 1
    if factor != 1:
        return "partial"
    rope_type: str = rope.get("rope_type") or rope.get("type") or "default"
    return rope_type
