"""Damaged models: safetensors, GGUF, bundles and zip files of them."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from random import Random

import gguf
import numpy as np
import torch

from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.llm.llama import LlamaConfig, LlamaWeights, tensor_shapes
from MedLLMSegLib.llm.weights import read_layers, save_layers
from MedLLMSegLib.registry.catalogue import METADATA, WEIGHTS, find_model
from MedLLMSegLib.registry.user_models import import_model, verify_model
from MedLLMSegLib.segmentation.loaded_segmenter import load_model
from Testing.helpers.heart_bundle import heart_bundle
from Testing.helpers.tiny_classifier import write_tiny

from .json_mutations import any_json
from .kind import Kind
from .mutations import WIDE_EXTREMES, any_bytes, insert, splice

Files = dict[str, bytes]
LLAMA = LlamaConfig(16, 24, 2, 1, 8, 10000.0, 1e-5, 2)
HF_CONFIG = {
    "model_type": "llama", "hidden_act": "silu", "hidden_size": 16, "intermediate_size": 24,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "num_hidden_layers": 2,
    "rope_theta": 10000.0, "rms_norm_eps": 1e-5,
}  # fmt: skip
RESERVED_NAMES = (
    "CON",
    "nul.txt",
    "com1",
    "LPT9.json",
    "aux/x",
    "a:b",
    "a?",
    "a ",
    "a.",
    "x" * 300,
)


# ---- safetensors ----


@cache
def layers_file() -> bytes:
    torch.manual_seed(1)
    tensors = {name: torch.randn(shape) for name, shape in tensor_shapes(LLAMA).items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layers.safetensors"
        save_layers(LlamaWeights(LLAMA, {0: tensors, 1: tensors}, "made up", "", "MIT"), path)
        return path.read_bytes()


def _safetensors_header(rng: Random, data: bytes) -> bytes:
    """The JSON header damaged, and its length stated rightly, most of the time."""
    (length,) = struct.unpack_from("<Q", data)
    header = any_json(rng, data[8 : 8 + length])
    stated = len(header) if rng.random() < 0.9 else rng.choice(WIDE_EXTREMES) % 2**64
    return struct.pack("<Q", stated) + header + data[8 + length :]


def _damaged_safetensors(rng: Random, data: bytes) -> bytes:
    if rng.random() < 0.5:
        return _safetensors_header(rng, data)
    return any_bytes(rng, data) if rng.random() < 0.9 else splice(rng, data, layers_file())


def _write_safetensors(rng: Random, folder: Path) -> Path:
    """A file of our layers, a Hugging Face folder, or a bundle whose sha256 fits the damage."""
    use = rng.random()
    if use < 0.4:
        path = folder / "layers.safetensors"
        path.write_bytes(_damaged_safetensors(rng, layers_file()))
        return path
    if use < 0.7:
        config = json.dumps(HF_CONFIG).encode()
        config = any_json(rng, config) if rng.random() < 0.4 else config
        (folder / "config.json").write_bytes(config)
        weights = _damaged_safetensors(rng, layers_file())
        (folder / "model.safetensors").write_bytes(weights)
        if rng.random() < 0.2:
            index = json.dumps({"weight_map": {"model.layers.0.x": "model.safetensors"}}).encode()
            (folder / "model.safetensors.index.json").write_bytes(any_json(rng, index))
        return folder
    files = dict(rng.choice(bundles()))
    files[WEIGHTS] = _damaged_safetensors(rng, files[WEIGHTS])
    metadata = json.loads(files[METADATA])
    metadata["weights_sha256"] = hashlib.sha256(files[WEIGHTS]).hexdigest()
    files[METADATA] = json.dumps(metadata).encode()
    return write_files(files, folder / "bundle")


def _read_weights(path: Path) -> object:
    if path.name == "bundle":
        return _read_bundle(path)
    return read_layers(path, [0, -1])


# ---- GGUF ----


@cache
def gguf_files() -> tuple[bytes, ...]:
    return tuple(_gguf_file(architecture) for architecture in ("llama", "qwen2"))


def _gguf_file(architecture: str) -> bytes:
    names = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.o_proj": "attn_output", **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
        **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_block_count(LLAMA.num_layers)
        writer.add_embedding_length(LLAMA.hidden_size)
        writer.add_feed_forward_length(LLAMA.intermediate_size)
        writer.add_head_count(LLAMA.num_heads)
        writer.add_head_count_kv(LLAMA.num_key_value_heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(10000.0)
        writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
        for layer in range(LLAMA.num_layers):
            for name, shape in tensor_shapes(LLAMA).items():
                module, kind = name.rsplit(".", 1)
                tensor = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
                writer.add_tensor(f"blk.{layer}.{names[module]}.{kind}", tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _write_gguf(rng: Random, folder: Path) -> Path:
    data = rng.choice(gguf_files())
    deed = rng.random()
    if deed < 0.5:  # a whole number of the header, where one stands
        damaged = bytearray(data)
        size = rng.choice((4, 8))
        place = rng.randrange(4, 2200)
        damaged[place : place + size] = (rng.choice(WIDE_EXTREMES) % 256**size).to_bytes(
            size, "little"
        )
        data = bytes(damaged)
    elif deed < 0.95:
        data = any_bytes(rng, data)
    else:
        data = splice(rng, data, rng.choice(gguf_files()))
    path = folder / "a.gguf"
    path.write_bytes(data)
    return path


# ---- bundles ----


@cache
def bundles() -> tuple[Files, ...]:
    """A segmenter's and a classifier's bundle, file by file."""
    with tempfile.TemporaryDirectory() as folder:
        made = heart_bundle(Path(folder)), write_tiny(Path(folder) / "tiny")
        return tuple(
            {
                path.relative_to(bundle).as_posix(): path.read_bytes()
                for path in sorted(bundle.rglob("*"))
                if path.is_file()
            }
            for bundle in made
        )


def write_files(files: Files, folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def _write_bundle(rng: Random, folder: Path) -> Path:
    files = dict(rng.choice(bundles()))
    files[METADATA] = any_json(rng, files[METADATA])
    if rng.random() < 0.05:
        del files[rng.choice(list(files))]
    return write_files(files, folder / "bundle")


def _read_bundle(folder: Path) -> object:
    entry = verify_model(folder)
    find_model(folder, None)
    return (load_classifier if entry.kind == "classifier" else load_model)(folder, "cpu")


# ---- zip files ----


def zip_bytes(rng: Random, files: Files, odd: str) -> bytes:
    """A zip file of a bundle in a folder, with one oddity, or none of that name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            _add(archive, f"model/{name}", data)
        if odd == "slip":
            name = rng.choice(("../evil", "model/../../evil", "/evil", "..\\..\\evil", "C:\\evil",
                               f"../../{METADATA}", f"model/../{WEIGHTS}", "//x/evil"))  # fmt: skip
            _add(archive, name, b"evil")
        elif odd == "reserved":
            _add(archive, f"model/{rng.choice(RESERVED_NAMES)}", b"x")
        elif odd == "double":
            _add(archive, f"model/{rng.choice(list(files))}", rng.choice((b"{}", b"", b"other")))
        elif odd == "link":
            _add(archive, f"model/{rng.choice(list(files))}", b"/etc/passwd", stat.S_IFLNK | 0o777)
        elif odd == "bomb":
            _add(archive, "model/LICENSE", bytes(1 << 28))
        elif odd == "many":
            for n in range(20_000):
                archive.writestr(f"model/{n}/x", b"")
    return out.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int = 0o100644) -> None:
    info = zipfile.ZipInfo(name)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, mode << 16
    archive.writestr(info, data)


def _with_bad_id(rng: Random, files: Files) -> Files:
    metadata = json.loads(files[METADATA])
    metadata["id"] = rng.choice((*RESERVED_NAMES, "../evil", "/evil", "..", ".", "a/b", "a\\b", ""))
    return {**files, METADATA: json.dumps(metadata).encode()}


def _write_zip(rng: Random, folder: Path) -> Path:
    files = dict(rng.choice(bundles()))
    odds = ("slip", "reserved", "double", "link", "id", "json", "none", "none", "none", "none")
    odd = rng.choice(odds) if rng.random() < 0.98 else rng.choice(("bomb", "many"))
    if odd == "id":
        files = _with_bad_id(rng, files)
    elif odd == "json":
        files[METADATA] = any_json(rng, files[METADATA])
    elif odd in ("bomb", "link"):
        files.pop("LICENSE", None)
    data = zip_bytes(rng, files, odd)
    if odd == "none":
        data = _damaged_zip(rng, data)
    path = folder / "bundle.zip"
    path.write_bytes(data)
    return path


def _damaged_zip(rng: Random, data: bytes) -> bytes:
    """Damage to the archive's own records, which stand at its end, or anywhere."""
    directory = data.rfind(b"PK\x01\x02", 0, len(data) - 60)
    if rng.random() < 0.6 and directory > 0:
        start = data.find(b"PK\x01\x02")
        return data[:start] + any_bytes(rng, data[start:])
    return any_bytes(rng, data) if rng.random() < 0.9 else insert(rng, data)


KINDS = (
    Kind("safetensors", _write_safetensors, _read_weights),
    Kind("gguf", _write_gguf, lambda path: read_layers(path, [0, -1])),
    Kind("bundle", _write_bundle, _read_bundle),
    Kind("zip", _write_zip, import_model, writes_into=("cache/models",)),
)
