"""A network of ours as graphs of an engine: written into a folder, kept in the cache, opened."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.places import exports_dir
from MedLLMSegLib.core.safe_files import (
    make_folder,
    remove_leftovers,
    temporary_path,
    write_error,
)

from .convert import write_onnx, write_openvino
from .engine_names import OPENVINO, check_engine, check_exporter
from .engine_network import EngineNetwork
from .exportable import HEAD, NETWORK, GraphPart, graph_parts
from .graph_folder import GraphFile
from .own_process import in_own_process

LIST = "graphs.json"
# Raise it when graphs are made in another way: what is kept of older ones is then made anew.
GRAPHS_VERSION = 1
Graphs = Mapping[str, GraphFile]  # "network", and "head" where there is one


def write_graphs(network: nn.Module, engine: str, folder: Path, prefix: str = "") -> Graphs:
    """Write a network's graphs into a folder, in a process of their own. prefix: of the files'
    names.

    Raises `UserError` for an engine, or an exporter, that is not installed, and for a network that
    cannot be exported.
    """
    check_engine(engine)
    check_exporter()
    return in_own_process(_write_parts, network, engine, folder.absolute(), prefix)


def _write_parts(network: nn.Module, engine: str, folder: Path, prefix: str) -> Graphs:
    return {
        part.name: _write(part, engine, folder / f"{prefix}{part.name}")
        for part in graph_parts(network)
    }


def _write(part: GraphPart, engine: str, stem: Path) -> GraphFile:
    path = write_onnx(part, stem.with_suffix(".onnx"))
    if engine == OPENVINO:
        onnx = path
        path = write_openvino(onnx, stem.with_suffix(".xml"))
        onnx.unlink()
    return GraphFile.of(engine, path, part.multiple, part.fold)


def open_graphs(graphs: Graphs, folder: Path, threads: int | None = None) -> EngineNetwork:
    """A network of graphs in a folder, ready to run. threads: None for as many as may be used.

    Raises `UserError` where their files were changed.
    """
    network, head = graphs[NETWORK], graphs.get(HEAD)
    assert network.multiple is not None
    return EngineNetwork(
        network.engine,
        network.open(folder, threads),
        head.open(folder, threads) if head else None,
        network.multiple,
        network.fold,
    )


def engine_network(network: nn.Module, engine: str, sha256: str) -> EngineNetwork:
    """A network in an engine: from the cache, or made and kept there.

    sha256: of the measured model whose network it is. Raises `UserError` where the engine is not
    installed, nothing can be kept, or graphs would have to be made of another engine's.
    """
    check_engine(engine)
    folder = exports_dir() / f"{sha256[:24]}-{engine}"
    graphs = _kept(folder, sha256)
    if graphs is None:
        if isinstance(network, EngineNetwork):
            raise UserError(
                f'The model is in the engine {network.engine}, of which nothing for "{engine}" can'
                " be made; load the model anew with that engine."
            )
        _make(_on_cpu(network), engine, sha256, folder)
        graphs = _kept(folder, sha256)
    assert graphs is not None
    return open_graphs(graphs, folder)


def _on_cpu(network: nn.Module) -> nn.Module:
    """The network, or where it is on a GPU a copy: the exporter's images are on the CPU, and the
    caller goes on with the network where it is.
    """
    tensors = (*network.parameters(), *network.buffers())
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return network
    return copy.deepcopy(network).cpu()


def _key(sha256: str) -> dict[str, object]:
    return {"measured_model": sha256, "version": GRAPHS_VERSION}


def _kept(folder: Path, sha256: str) -> Graphs | None:
    """The graphs in a folder of the cache; None where there are none, or those of something else,
    or damaged ones.
    """
    try:
        data = parse_json((folder / LIST).read_bytes())
        if data["key"] != _key(sha256):
            return None
        graphs = {name: GraphFile.from_dict(each) for name, each in data["graphs"].items()}
        return (
            graphs
            if NETWORK in graphs and all(g.is_whole(folder) for g in graphs.values())
            else None
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _make(network: nn.Module, engine: str, sha256: str, folder: Path) -> None:
    """Write the graphs into the cache; where another process did it meanwhile, its stay."""
    make_folder(folder.parent)
    scratch = temporary_path(folder.parent)
    try:
        scratch.mkdir(mode=0o700)
        graphs = write_graphs(network, engine, scratch)
        listed = {"key": _key(sha256), "graphs": {n: g.to_dict() for n, g in graphs.items()}}
        (scratch / LIST).write_text(json.dumps(listed, indent=1), encoding="utf-8")
        if folder.exists() and _kept(folder, sha256) is None:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            os.rename(scratch, folder)
        except OSError:
            if _kept(folder, sha256) is None:
                raise
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        remove_leftovers(folder.parent)
