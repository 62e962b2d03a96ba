"""What lies beside a label map in BIDS: its look-up table and its JSON sidecar.

After the chapter "Imaging data types" of the standard's derivatives (1.10): "Discrete
segmentations" and "Common image-derived labels".
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.version import __version__

RAW = "raw"  # how the scans' dataset is called in the derivatives' own description


@dataclass(frozen=True)
class DerivativeFiles:
    """lookup: the path of _dseg.tsv. sidecar: of _dseg.json. source: the scan's path within its
    dataset, with /.
    """

    lookup: Path
    sidecar: Path
    source: str

    def write(self, result: Segmentation, model_sha256: str, resolution_mm: float | None) -> None:
        """model_sha256: of the measured model. resolution_mm: of the label map, if not the scan's.

        Raises `UserError` where the files cannot be written.
        """
        write_text(self.lookup, lookup_table(result))
        content = json.dumps(
            self._sidecar(result, model_sha256, resolution_mm), indent=2, ensure_ascii=False
        )
        write_text(self.sidecar, content + "\n")

    def _sidecar(
        self, result: Segmentation, model_sha256: str, resolution_mm: float | None
    ) -> Json:
        source = f"bids:{RAW}:{self.source}"
        content: Json = {
            "Description": f"Structures outlined by the model {result.model}",
            "Sources": [source],
            "SpatialReference": source,
            "Manual": False,
            "Model": result.model,
            "ModelSha256": model_sha256,
            "Precision": result.precision,
            "MedLLMSegVersion": __version__,
        }
        if resolution_mm is not None:
            content["Resolution"] = f"cubes of {resolution_mm:g} mm along the scan's own axes"
        if result.notes:
            content["Notes"] = list(result.notes)
        return content


def lookup_table(result: Segmentation) -> str:
    """Tab-separated: index, name and colour of each value of the label map."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["index", "name", "color"])
    for structure in result.structures:
        red, green, blue = structure.color
        writer.writerow([structure.label, structure.name, f"#{red:02x}{green:02x}{blue:02x}"])
    return text.getvalue()
