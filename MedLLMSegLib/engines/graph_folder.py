"""The graphs of one network in a folder, with their sha256. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json, Triple

from .graph import Graph, open_graph


@dataclass(frozen=True)
class GraphFile:
    """One graph in a folder.

    engine: "openvino" or "onnx". files: name -> sha256; the first one is what the engine opens.
    multiple: each axis (k, j, i) of an image has to be a multiple of so many voxels; None for a
    graph of one size alone. fold: voxels of the image along each axis for one place of what comes
    out.
    """

    engine: str
    files: Mapping[str, str]
    multiple: Triple | None = None
    fold: int = 1

    @classmethod
    def of(cls, engine: str, path: Path, multiple: Triple | None, fold: int = 1) -> GraphFile:
        """A graph that has just been written."""
        names = [path.name, path.with_suffix(".bin").name]
        present = [name for name in names if (path.parent / name).is_file()]
        return cls(
            engine, {name: sha256_of(path.parent / name) for name in present}, multiple, fold
        )

    def is_whole(self, folder: Path) -> bool:
        """Whether its files are the ones that were written."""
        return not self._wrong(folder)

    def open(self, folder: Path, threads: int | None = None) -> Graph:
        """The graph, ready to run. Raises `UserError` where its files are not the ones that were
        written.
        """
        if wrong := self._wrong(folder):
            raise UserError(
                f'"{folder / wrong}" is missing or is not the file that was exported (sha256'
                f" {self.files[wrong][:12]}...); export the model again."
            )
        return open_graph(folder / next(iter(self.files)), self.engine, threads)

    def _wrong(self, folder: Path) -> str:
        """The name of the first file that is missing or another one; "" where there is none."""
        for name, sha256 in self.files.items():
            path = folder / name
            if not path.is_file() or sha256_of(path) != sha256:
                return name
        return ""

    def to_dict(self) -> Json:
        """As JSON; `from_dict` reads it."""
        multiple = list(self.multiple) if self.multiple else None
        files = dict(self.files)
        return {"engine": self.engine, "files": files, "multiple": multiple, "fold": self.fold}

    @classmethod
    def from_dict(cls, data: Json) -> GraphFile:
        """Raises `KeyError`, `TypeError` or `ValueError` for a damaged one."""
        hashes = {str(name): str(sha256) for name, sha256 in dict(data["files"]).items()}
        if not hashes or any(Path(name).name != name for name in hashes):
            raise ValueError(f"files {sorted(hashes)}")
        multiple = None
        if data["multiple"]:
            k, j, i = (int(n) for n in data["multiple"])
            multiple = (k, j, i)
        return cls(str(data["engine"]), hashes, multiple, int(data["fold"]))


def sha256_of(path: Path) -> str:
    """Of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
