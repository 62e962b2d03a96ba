"""A model of ours -> a folder that other programs, and computers without torch, can use."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.folder_exchange import exchange_folders
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import make_folder, temporary_path, write_error
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.engines.engine_names import GRAPH_ENGINES, check_engine, engine_version
from MedLLMSegLib.engines.exportable import NETWORK
from MedLLMSegLib.engines.graph_folder import GraphFile
from MedLLMSegLib.engines.int8 import check_int8, quantised
from MedLLMSegLib.engines.network_graphs import write_graphs
from MedLLMSegLib.llm.store import BUNDLED_DIR, MODELS
from MedLLMSegLib.registry.catalogue import CARD, LICENCE, METADATA, ModelEntry, find_model
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model

from .calibration import calibration_images
from .exported_folder import FORMAT, FULL, INT8, LIST

LOCALIZER = "localizer"
LOCALIZER_METADATA = "configs/localizer.json"
LLM_LICENCE = "LICENSE-language-model"


@dataclass(frozen=True)
class _Networks:
    """What of a model becomes graphs. networks: by the prefix of their graphs' names."""

    entry: ModelEntry
    sha256: str
    networks: dict[str, nn.Module]
    localizer: Path | None = None
    segmenter: SegmenterModel | None = None


def export_model(
    name: PathLike,
    engine: str,
    output: PathLike,
    int8_data: PathLike | None = None,
    progress: Report | None = None,
) -> Path:
    """Write a model as an exported folder; an exported folder in the same place is replaced.

    name: an id or a bundle's folder, of a segmenter or a classifier. engine: "openvino" or "onnx".
    int8_data: scans, or labelled cases with a split "train", on which graphs of 8 bits are
    calibrated; None for full ones. Raises `UserError` for a model that cannot be read, an engine
    that is not installed, and a folder that holds something else.
    """
    if engine not in GRAPH_ENGINES:
        raise UserError(f'"{engine}" is nothing to export to; use {" or ".join(GRAPH_ENGINES)}.')
    check_engine(engine)
    report = Progress.of(progress)
    output = Path(output)
    check_replaceable(output)
    report("load", 0.0)
    model = _networks(name)
    texts = _texts(model)
    if int8_data is not None:
        check_int8(engine)
        if model.segmenter is None:
            raise UserError(f'"{model.entry.id}" outlines nothing, and 8 bits are for what does.')
    make_folder(output.parent)
    scratch = temporary_path(output.parent)
    try:
        scratch.mkdir()
        graphs = _graphs(model, engine, scratch, report.part(0.1, 0.7))
        if int8_data is not None:
            _quantise(model, graphs, scratch, Path(int8_data), report.part(0.7, 1.0))
        for file, content in texts.items():
            (scratch / file).parent.mkdir(exist_ok=True)
            (scratch / file).write_bytes(content)
        listed = {
            "format": FORMAT,
            "id": model.entry.id,
            "measured_model": model.sha256,
            "engine": engine,
            "weights": FULL if int8_data is None else INT8,
            "graphs": {name: graph.to_dict() for name, graph in graphs.items()},
            "made_with": [
                f"medllmseg {__version__}",
                engine_version("torch"),
                engine_version(engine),
            ],
        }
        (scratch / LIST).write_text(json.dumps(listed, indent=1), encoding="utf-8")
        check_replaceable(output)  # the graphs took a while
        _put_in_place(scratch, output)
    except OSError as error:
        raise write_error(output, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    report("done", 1.0)
    return output


def check_replaceable(folder: Path) -> None:
    """Raise `UserError` unless nothing is lost where an export takes the folder's place.

    That is so where it does not exist, is empty, or holds an exported model and nothing else: the
    whole folder is removed, so a file called export.json alone is not enough.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        listed = parse_json((folder / LIST).read_bytes())
        graphs = [GraphFile.from_dict(each) for each in listed["graphs"].values()]
        if not isinstance(listed["format"], int) or not isinstance(listed["measured_model"], str):
            raise ValueError(LIST)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'"{folder}" exists and is no exported model; choose a new folder.'
        ) from error
    ours = {LIST, METADATA, LOCALIZER_METADATA, CARD, LICENCE, LLM_LICENCE}
    ours |= {name for graph in graphs for name in graph.files}
    ours |= {str(Path(name).parent) for name in ours}
    inside = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    if others := sorted(inside - ours):
        raise UserError(
            f'"{folder}" holds more than an exported model ("{others[0]}"), and all of it would be'
            " removed; choose a new folder."
        )


def _networks(name: PathLike) -> _Networks:
    entry = find_model(name, None)
    if entry.kind == "classifier":
        classifier = load_classifier(str(name), "cpu")
        return _Networks(entry, classifier.sha256, {"": classifier.network})
    if entry.kind != "segmenter":
        raise UserError(
            f'"{entry.id}" goes into the folder of the model that it works for; export that one.'
        )
    model = load_model(str(name), "cpu", "fp32")
    networks = {"": model.network}
    if model.localizer is None:
        return _Networks(entry, model.sha256, networks, segmenter=model)
    assert isinstance(model.localizer.network, nn.Module)
    networks[f"{LOCALIZER}-"] = model.localizer.network
    about = json.loads((entry.folder / METADATA).read_text(encoding="utf-8"))
    folder = find_model(about["localizer"], None).folder
    return _Networks(entry, model.sha256, networks, folder, model)


def _graphs(
    model: _Networks, engine: str, folder: Path, progress: Progress
) -> dict[str, GraphFile]:
    """All graphs by name, such as "network", "head" and "localizer-network"."""
    graphs: dict[str, GraphFile] = {}
    parts = progress.parts(len(model.networks))
    for (prefix, network), part in zip(model.networks.items(), parts, strict=True):
        part(f"export {prefix.rstrip('-') or 'network'}", 0.0)
        written = write_graphs(network, engine, folder, prefix)
        graphs |= {prefix + name: graph for name, graph in written.items()}
    return graphs


def _quantise(
    model: _Networks, graphs: dict[str, GraphFile], folder: Path, data: Path, progress: Progress
) -> None:
    """Put graphs of 8 bits in the place of those of the networks; a head is small, and stays."""
    assert model.segmenter is not None
    images = calibration_images(model.segmenter, data, list(model.networks), progress)
    for prefix, seen in images.items():
        if seen:  # a crop needs no localizer, which then stays as it is
            graphs[prefix + NETWORK] = quantised(graphs[prefix + NETWORK], folder, seen)


def _texts(model: _Networks) -> dict[str, bytes]:
    """The files beside the graphs, by name, read before the long work starts.

    Raises `UserError` for one that the bundle lacks.
    """
    sources = {name: model.entry.folder / name for name in (METADATA, CARD, LICENCE)}
    if model.localizer is not None:
        sources[LOCALIZER_METADATA] = model.localizer / METADATA
    missing = [path for path in sources.values() if not path.is_file()]
    if missing:
        raise UserError(
            f'"{missing[0]}" is missing, and an exported model has that file; add it, or install'
            " the model again."
        )
    texts = {name: path.read_bytes() for name, path in sources.items()}
    llm_licence = language_model_licence(json.loads(texts[METADATA]))
    if llm_licence is not None:
        texts[LLM_LICENCE] = llm_licence.encode("utf-8")
    return texts


def language_model_licence(about: Json) -> str | None:
    """The licence of the language-model layers in a model's graphs; None for a model without any.

    about: a bundle's metadata. Of a checkpoint of the user's own it is what the metadata state.
    """
    network = about["network"]
    llm = network.get("llm") or (network.get("pneumollm") or {}).get("llm")
    if not llm:
        return None
    if llm["source"] in MODELS:
        return (BUNDLED_DIR / "LICENSE").read_text(encoding="utf-8")
    licence = about.get("llm_licence") or "not stated"
    return f"Language-model layers: {about.get('llm') or llm['source']}\nLicence: {licence}\n"


def _put_in_place(new: Path, folder: Path) -> None:
    """Move a complete folder to its place; an older one goes after that."""
    if folder.exists() and exchange_folders(new, folder):
        return  # what is at `new` now is the old one, and is removed by the caller
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(new, folder)


def folder_mb(folder: Path) -> Json:
    """File -> MB of 10^6 bytes, of the graphs in an exported folder."""
    files = (p for p in sorted(folder.iterdir()) if p.suffix in (".onnx", ".xml", ".bin"))
    return {path.name: path.stat().st_size / 1e6 for path in files}
