"""The fields of MONAI's specification in a segmenter's or localizer's metadata.json (no MONAI
here).

Sources: MONAI Bundle Specification (docs/source/mb_specification.rst), the JSON schema named in
`SCHEMA`, and the ids of monai/bundle/properties.py.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from MedLLMSegLib.anatomy.structures import ANATOMY
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.version import __version__

from .cards import group_statistics
from .segmenter_settings import WINDOW

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
REQUIRED = {
    "nibabel": "5.2.0",
    "fire": "0.4.0",
    "scikit-image": "0.24.0",
}  # besides what medllmseg itself brings
PAPER = (
    "Kumar et al. MedVisionLlama: Leveraging Pre-Trained Large Language Model Layers to Enhance"
    " Medical Image Segmentation. arXiv 2410.02458."
)


def class_names(metadata: Json) -> list[str]:
    """What each class of the network is, background first."""
    if metadata["kind"] != "segmenter":
        return [name.replace("_", " ").capitalize() for name in metadata["classes"]]
    if metadata.get("anatomy"):
        return ["Background", *(s.name for s in ANATOMY[metadata["anatomy"]](lateral=False))]
    return ["Background", *(each["name"] for each in metadata["labels"])]


def monai_fields(metadata: Json) -> Json:
    """The fields of MONAI's specification for a bundle's metadata; what the metadata states
    itself is kept.
    """
    names = class_names(metadata)
    numbered = ", ".join(f"{c} {name}" for c, name in enumerate(names))
    number, segmenter = metadata.get("version", "0.1.0"), metadata["kind"] == "segmenter"
    block = (
        ", with a frozen block of a pretrained language model in its encoder"
        if metadata.get("llm")
        else ""
    )
    own = {
        "changelog": {number: "first version"},
        "description": (
            f"{metadata['title']}. A 3D network that labels each voxel ({numbered}){block}."
        ),
        "authors": "not stated",
        "copyright": f"not stated; licence: {metadata['licence']}",
        "intended_use": "Research use only; not a medical device.",
    }
    references = [PAPER] if segmenter else []
    return {
        "schema": SCHEMA,
        "version": number,
        "monai_version": installed_version("monai"),
        "pytorch_version": installed_version("torch"),
        "numpy_version": installed_version("numpy"),
        "required_packages_version": {"medllmseg": __version__, **REQUIRED},
        "task": f"Segmentation: {metadata['title']}",
        **{key: metadata.get(key) or value for key, value in own.items()},
        "data_source": metadata.get("data") or "not stated",
        "data_type": "nibabel",
        "image_classes": (
            f"one channel, {metadata['modality']}, {_intensity(metadata['preprocessing'])}"
        ),
        "label_classes": f"one channel: {numbered}",
        "pred_classes": f"{len(names)} channels of logits: {numbered}",
        "eval_metrics": eval_metrics(metadata.get("results")),
        "references": list(dict.fromkeys([*references, *(metadata.get("references") or [])])),
        "network_data_format": _data_format(metadata, names),
    }


def eval_metrics(results: Json | None) -> dict[str, float]:
    """Measured means by name ("mean_dice", "dice_anterior", "hd95_mm") from a summary of `medllmseg
    evaluate`, over heads or patients.

    "ece" and "risk_coverage" are such means too; the calibration over all voxels together stands in
    "calibration".
    """
    if (
        not results or "mean" not in results
    ):  # a localizer's are of another kind, and stand in "results"
        return {}
    figures = group_statistics(results)
    found = {
        ("mean_dice" if name == "dice" else name): s["mean"] for name, s in figures["means"].items()
    }
    found |= {f"dice_{key}": s["mean"] for key, s in figures["metrics"]["dice"].items()}
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def _data_format(metadata: Json, names: list[str]) -> Json:
    """Axes are (k, j, i): from inferior to superior, posterior to anterior and left to right for
    axes "ras".
    """
    training = metadata.get("training")
    window = (
        metadata["preprocessing"].get("window")
        or (training.get("window") if isinstance(training, dict) else None)
        or WINDOW
    )
    modality = next(
        (m for m in ("CT", "MR", "US", "PT") if m in metadata["modality"].upper().split()), "n/a"
    )
    channels = {str(c): name for c, name in enumerate(names)}
    shape = {
        "spatial_shape": [int(n) for n in window],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
    }
    image = {
        "type": "image",
        "format": "hounsfield" if modality == "CT" else "magnitude",
        "modality": modality,
        "num_channels": 1,
        **shape,
        "channel_def": {"0": metadata["modality"]},
    }
    logits = {
        "type": "image",
        "format": "labels",
        "num_channels": len(names),
        **shape,
        "channel_def": channels,
    }
    label_map = {
        "type": "image",
        "format": "segmentation",
        "num_channels": 1,
        "spatial_shape": ["*", "*", "*"],
        "dtype": "uint8",
        "value_range": [0, len(names) - 1],
        "is_patch_data": False,
        "channel_def": channels,
    }
    return {
        "inputs": {"image": image},
        "outputs": {"pred": logits},
        "post_processed_outputs": {"pred": label_map},
    }


def _intensity(settings: Json) -> str:
    return settings.get("intensity") or settings.get("normalise") or "as in the scan"


def installed_version(package: str) -> str:
    try:
        return version(package).split("+")[0]
    except PackageNotFoundError:
        return "unknown"
