"""A measured localizer as a bundle: its metadata, its model card and its weights."""

from __future__ import annotations

import json
from pathlib import Path

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.networks.segmentation.localizer_network import CLASSES
from MedLLMSegLib.registry.bundle import write_bundle
from MedLLMSegLib.registry.catalogue import BUNDLES, LICENCE
from MedLLMSegLib.registry.monai_fields import monai_fields
from MedLLMSegLib.segmentation.localize import Localizer
from MedLLMSegLib.training.shipped_models import SHIPPED


def write_localizer(localizer: Localizer, results: Json, folder: Path, note: str = "") -> None:
    """Write the localizer as a bundle.

    results: its figures, for the metadata and the card. note: how it was trained.
    """
    scans = results["kept_out_whole_scans"]
    metadata = {
        "id": "brain-t1-localizer",
        "kind": "localizer",
        "title": "Hippocampi in a whole head",
        "modality": "MR T1",
        "structures": ["Left hippocampus", "Right hippocampus"],
        "licence": "Apache-2.0",
        "classes": list(CLASSES),
        "accuracy": (
            f"centre within {scans['median_mm']} mm (median), {scans['worst_mm']} mm (worst) on"
            f" {scans['scans']} synthetic scans of five heads kept out of training;"
            f" {scans['missed']} of {2 * scans['scans']} sides missed"
        ),
        "network": localizer.config.to_dict(),
        "preprocessing": {
            "spacing_mm": localizer.config.spacing_mm,
            "orientation": "RAS",
            "intensity": "0.5th to 99.5th percentile to 0..1",
        },
        "data": "synthetic images of 15 label maps of SynthSeg (Apache-2.0); no real scan was used",
        "training": note,
        "results": results,
    } | SHIPPED["brain-t1-localizer"]
    # The repository's own LICENSE is not there once the library is installed.
    licence = BUNDLES / "llm" / LICENCE  # Apache-2.0, too
    write_bundle(
        folder,
        {**metadata, **monai_fields(metadata)},
        localizer.network.state_dict(),
        model_card(metadata),
        licence.read_text(encoding="utf-8"),
    )


def model_card(metadata: Json) -> str:
    """The model card in Markdown."""
    return f"""# {metadata["title"]} ({metadata["id"]})

Finds the centres of the left and the right hippocampus in a T1 MRI of the head, whole or \
skull-stripped, in any
orientation, or says that there is none. Research use only; not a medical device.

- Network: residual U-Net (MONAI) at {metadata["network"]["spacing_mm"]} mm, \
{metadata["classes"][1:]} and background.
- Data: {metadata["data"]}.
- Training: {metadata["training"]}
- Licence: {metadata["licence"]}.
- Accuracy: {metadata["accuracy"]}.

Measured by `python -m MedLLMSegLib.evaluation.evaluate_localizer --data ../shared/data`:

```json
{json.dumps(metadata["results"], indent=1)}
```
"""
