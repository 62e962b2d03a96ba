"""Which model every process of a batch must have: by name and hash, never by its weights."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.engines.engine_names import TORCH
from MedLLMSegLib.segmentation.hippocampus_parts import load_parts_model
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model


@dataclass(frozen=True)
class LoadedModels:
    """model: what outlines. parts: what divides its hippocampi (`segment`'s ``with_model``)."""

    model: SegmenterModel
    parts: SegmenterModel | None = None

    @property
    def precision_is_open(self) -> bool:
        """Whether the next scan decides in which precision a network runs from then on."""
        models = [each for each in (self.model, self.parts) if each is not None]
        return any(None in each.settled_precisions().values() for each in models)


@dataclass(frozen=True)
class ModelRequest:
    """A model's name and what it must be.

    name, with_name: an id, or the absolute path of a bundle's folder. device, precision, engine: as
    for `load_model`. structures: asked for, () for all. sha256, with_sha256: of the models as the
    computer has them that asks. version: of this program there.
    """

    name: str
    device: str
    precision: str
    sha256: str
    structures: tuple[str, ...] = ()
    with_name: str | None = None
    with_sha256: str | None = None
    engine: str = TORCH
    version: str = __version__

    @classmethod
    def of(
        cls,
        names: Sequence[str | None],
        loaded: LoadedModels,
        device: str,
        structures: tuple[str, ...] = (),
    ) -> ModelRequest:
        """names: of the model, and of the one that divides or None, as the user typed them."""
        name, with_name = (_anywhere(typed) for typed in names)
        return cls(
            name=name or loaded.model.entry.id,
            device=device,
            precision=loaded.model.precision,
            sha256=loaded.model.sha256,
            structures=structures,
            with_name=with_name,
            with_sha256=None if loaded.parts is None else loaded.parts.sha256,
            engine=loaded.model.engine,
        )

    def load(self) -> LoadedModels:
        """The same models as this computer has them.

        Raises `UserError` where they, or the program, are not the same.
        """
        if self.version != __version__:
            raise self._refusal(f"has MedLLMSeg {__version__}, and {self.version} is needed")
        model = load_model(self.name, self.device, self.precision, self.engine)
        parts = load_parts_model(self.with_name, model, self.structures, self.device)
        for name, needed, found in (
            (self.name, self.sha256, model),
            (self.with_name, self.with_sha256, parts),
        ):
            if found is not None and found.sha256 != needed:
                raise self._refusal(
                    f'has another model "{name}" (sha256 {found.sha256[:12]}..., and'
                    f" {str(needed)[:12]}... is needed)"
                )
        return LoadedModels(model, parts)

    def _refusal(self, what: str) -> UserError:
        return UserError(
            f'The computer "{platform.node()}" {what}, so it takes no part in this batch; install'
            " the same there."
        )


def _anywhere(typed: str | None) -> str | None:
    """A model's name as another process finds it: a folder by its absolute path."""
    if typed is None or not Path(typed).is_dir():
        return typed
    is_an_id = typed == Path(typed).name and not Path(typed, "configs").is_dir()
    return typed if is_an_id else str(Path(typed).resolve())
