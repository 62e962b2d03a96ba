"""A folder with an exported model: its graphs, and the settings that the chain needs. No torch.

export.json            the engine, the measured model, the graphs with their sha256
network.onnx, ...      the graphs (of OpenVINO .xml and .bin)
configs/metadata.json  the bundle's own; of a cascade configs/localizer.json, too
docs/README.md         the model card
LICENSE, ...           of the weights, and of the language-model layer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError, error_in_short
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.engines.engine_names import check_engine
from MedLLMSegLib.engines.graph_folder import GraphFile
from MedLLMSegLib.registry.catalogue import METADATA
from MedLLMSegLib.registry.measured_model import MeasuredModel
from MedLLMSegLib.segmentation.quality.fitted import QualityFit, read_quality

from .logit_reading import LogitReading

LIST = "export.json"
FORMAT = 1
FULL, INT8 = "fp32", "int8"  # what the weights and layers of a graph are


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """A model in a folder, read without its graphs.

    about: the bundle's metadata. engine: "openvino" or "onnx". weights: "fp32" or "int8".
    measured_model: the sha256 of the model that was exported. graphs: by name ("network", "head",
    "localizer"). quality: what was fitted for this very model, else None.
    """

    folder: Path
    about: Json
    engine: str
    weights: str
    measured_model: str
    graphs: Mapping[str, GraphFile]
    quality: QualityFit | None = None

    @property
    def id(self) -> str:
        """The model's id."""
        return str(self.about["id"])

    @property
    def settings(self) -> Json:
        """The bundle's "preprocessing"."""
        settings: Json = self.about["preprocessing"]
        return settings

    @cached_property
    def structures(self) -> tuple[Structure, ...]:
        """What a model of whole scans looks for."""
        return tuple(Structure.from_dict(each) for each in self.about["labels"])

    @cached_property
    def label_table(self) -> NDArray[np.uint8] | None:
        """Of a network that tells sides apart: (classes, 2), the labels on the left and right."""
        table = self.about.get("label_table")
        return np.array(table, np.uint8) if table else None

    @cached_property
    def reading(self) -> LogitReading:
        """How the network's outputs are read."""
        temperature = float((self.about.get("calibration") or {}).get("temperature", 1.0))
        if self.label_table is None:
            return LogitReading(1 + len(self.structures), temperature)
        paired = tuple(bool(left != right) for left, right in self.label_table)
        return LogitReading(len(paired), temperature, paired)

    @property
    def label_of_number(self) -> NDArray[np.uint8]:
        """The label of each number of a winner (`LogitReading`)."""
        if self.label_table is not None:
            return self.label_table.T.reshape(-1)
        return np.array([0, *(s.label for s in self.structures)], np.uint8)


def is_exported(folder: Path | str) -> bool:
    """Whether a folder holds an exported model."""
    return (Path(folder) / LIST).is_file()


def read_exported(folder: Path | str) -> ExportedModel:
    """Read an exported model's description.

    Raises `UserError` for a folder that holds none, a damaged one, one whose settings were changed
    (of a cascade, which does not run from a folder, nobody asks), or one whose engine is not
    installed. The graphs are verified when they are opened.
    """
    folder = Path(folder)
    try:
        listed = parse_json((folder / LIST).read_bytes())
        about = parse_json((folder / METADATA).read_bytes())
        if listed["format"] != FORMAT:
            raise ValueError(f"format {listed['format']!r}")
        model = ExportedModel(
            folder,
            about,
            str(listed["engine"]),
            str(listed["weights"]),
            str(listed["measured_model"]),
            {name: GraphFile.from_dict(each) for name, each in listed["graphs"].items()},
            read_quality(about, str(listed["measured_model"])),
        )
        is_own = about.get("localizer") or MeasuredModel.of(about).sha256 == model.measured_model
    except FileNotFoundError as error:
        raise UserError(
            f'"{folder}" is not an exported model ({Path(error.filename).name} is missing); make'
            " one with `medllmseg export MODEL --to onnx --output FOLDER`."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'The exported model in "{folder}" is damaged ({error_in_short(error)}); export it'
            " again."
        ) from error
    if not is_own:
        raise UserError(
            f'The settings in "{folder / METADATA}" are not those of the model that was exported'
            f" (sha256 {model.measured_model[:12]}...); export it again."
        )
    check_engine(model.engine)
    return model
