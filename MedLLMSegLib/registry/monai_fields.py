"""The fields of MONAI's specification in a segmenter's or localizer's metadata.json (no MONAI
here).

Sources: MONAI Bundle Specification (docs/source/mb_specification.rst), the JSON schema named in
`SCHEMA`, and the ids of monai/bundle/properties.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from MedLLMSegLib.anatomy.structures import STRUCTURES_OF_ANATOMY
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.version import __version__

from .cards import group_statistics
from .input_channels import InputChannel, channels_of, normalisation_text
from .segmenter_settings import WINDOW

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
# Packages that MONAI's runner needs besides those that medllmseg itself brings.
REQUIRED = {"nibabel": "5.2.0", "fire": "0.4.0", "scikit-image": "0.24.0"}
PAPER = (
    "Kumar et al. MedVisionLlama: Leveraging Pre-Trained Large Language Model Layers to Enhance"
    " Medical Image Segmentation. arXiv 2410.02458."
)


def class_names(metadata: Json) -> list[str]:
    """The name of each class of the network, background first.

    Of a network that tells sides apart they are without a side.
    """
    if metadata["kind"] != "segmenter":
        return [name.replace("_", " ").capitalize() for name in metadata["classes"]]
    if metadata.get("anatomy"):
        return [
            "Background",
            *(s.name for s in STRUCTURES_OF_ANATOMY[metadata["anatomy"]](lateral=False)),
        ]
    names = {label["label"]: label["name"] for label in metadata["labels"]}
    if _tells_sides(metadata):
        rows = metadata["label_table"][1:]  # without the background
        return ["Background", *(_sideless(names[left], left != right) for left, right in rows)]
    return ["Background", *names.values()]


def _tells_sides(metadata: Json) -> bool:
    return bool((metadata.get("network") or {}).get("sides"))


def _sideless(name: str, paired: bool) -> str:
    return name.partition(" ")[2].capitalize() if paired else name


def _label_map_names(metadata: Json) -> dict[int, str]:
    """What the values of the label map stand for, background first."""
    if _tells_sides(metadata):
        return {0: "Background"} | {each["label"]: each["name"] for each in metadata["labels"]}
    return dict(enumerate(class_names(metadata)))


def monai_fields(metadata: Json) -> Json:
    """The fields of MONAI's specification for a bundle's metadata. What the metadata state
    themselves is kept.
    """
    names, label_names = class_names(metadata), _label_map_names(metadata)
    numbered = _numbered(label_names)
    model_version = metadata.get("version", "0.1.0")
    outputs = [*names, "Right side"] if _tells_sides(metadata) else names
    block = (
        ", with a frozen block of a pretrained language model in its encoder"
        if metadata.get("llm")
        else ""
    )
    defaults = {
        "changelog": {model_version: "first version"},
        "description": (
            f"{metadata['title']}. A 3D network that labels each voxel ({numbered}){block}."
        ),
        "authors": "not stated",
        "copyright": f"not stated; licence: {metadata['licence']}",
        "intended_use": "Research use only; not a medical device.",
    }
    references = [PAPER] if metadata["kind"] == "segmenter" else []
    references += metadata.get("references") or []
    return {
        "schema": SCHEMA,
        "version": model_version,
        "monai_version": installed_version("monai"),
        "pytorch_version": installed_version("torch"),
        "numpy_version": installed_version("numpy"),
        "required_packages_version": {"medllmseg": __version__, **REQUIRED},
        "task": f"Segmentation: {metadata['title']}",
        **{key: metadata.get(key) or value for key, value in defaults.items()},
        "data_source": metadata.get("data") or "not stated",
        "data_type": "nibabel",
        "image_classes": _image_classes(metadata),
        "label_classes": f"one channel: {numbered}",
        "pred_classes": f"{len(outputs)} channels of logits: {_numbered(dict(enumerate(outputs)))}",
        "eval_metrics": eval_metrics(metadata.get("results")),
        "references": list(dict.fromkeys(references)),  # each once
        "network_data_format": _data_format(metadata, outputs, label_names),
    }


def eval_metrics(results: Json | None) -> dict[str, float]:
    """Measured means over patients by name ("mean_dice", "dice_anterior", "hd95_mm").

    results: a summary of `medllmseg evaluate`. "ece" and "risk_coverage" are such means too; the
    calibration over all voxels together is in the metadata's "calibration". A localizer's results
    are of another kind and give {}.
    """
    if not results or "mean" not in results:
        return {}
    statistics = group_statistics(results)
    means = {
        "mean_dice" if metric == "dice" else metric: summary["mean"]
        for metric, summary in statistics["means"].items()
    }
    for structure, summary in statistics["metrics"]["dice"].items():
        means[f"dice_{structure}"] = summary["mean"]
    return {name: round(value, 4) for name, value in means.items() if value is not None}


def _numbered(names: dict[int, str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in names.items())


def _data_format(metadata: Json, outputs: list[str], label_names: dict[int, str]) -> Json:
    """Inputs and outputs of the network. Shapes are (k, j, i): for axes "ras" from inferior to
    superior, posterior to anterior and left to right.
    """
    modality = _modality(metadata["modality"])
    channels = channels_of(metadata["preprocessing"])
    window = {
        "spatial_shape": [int(n) for n in _training_window(metadata)],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
    }
    image = {
        "type": "image",
        "format": "hounsfield" if modality == "CT" and len(channels) <= 1 else "magnitude",
        "modality": modality,
        "num_channels": len(channels) or 1,
        **window,
        "channel_def": {str(n): str(channel) for n, channel in enumerate(channels)}
        or {"0": metadata["modality"]},
    }
    logits = {
        "type": "image",
        "format": "labels",
        "num_channels": len(outputs),
        **window,
        "channel_def": {str(c): name for c, name in enumerate(outputs)},
    }
    label_map = {
        "type": "image",
        "format": "segmentation",
        "num_channels": 1,
        "spatial_shape": ["*", "*", "*"],
        "dtype": "uint8",
        "value_range": [0, max(label_names)],
        "is_patch_data": False,
        "channel_def": {str(value): name for value, name in label_names.items()},
    }
    return {
        "inputs": {"image": image},
        "outputs": {"pred": logits},
        "post_processed_outputs": {"pred": label_map},
    }


def _image_classes(metadata: Json) -> str:
    """The channels of the image, and how each is normalised."""
    channels = channels_of(metadata["preprocessing"])
    if channels:
        count = "one channel" if len(channels) == 1 else f"{len(channels)} channels"
        return f"{count}: {'; '.join(map(_channel_text, channels))}"
    return f"one channel, {metadata['modality']}, {_intensity(metadata['preprocessing'])}"


def _channel_text(channel: InputChannel) -> str:
    return f"{channel}, {normalisation_text(channel.grey)}"


def _training_window(metadata: Json) -> Sequence[int]:
    """Voxels (k, j, i) of a training sample."""
    training = metadata.get("training")
    stated = training.get("window") if isinstance(training, dict) else None
    window: Sequence[int] = metadata["preprocessing"].get("window") or stated or WINDOW
    return window


def _modality(text: str) -> str:
    """DICOM's code in a bundle's "modality", such as "MR" in "MR cine"."""
    words = text.upper().split()
    return next((code for code in ("CT", "MR", "US", "PT") if code in words), "n/a")


def _intensity(settings: Json) -> str:
    return str(settings.get("intensity") or settings.get("normalise") or "as in the scan")


def installed_version(package: str) -> str:
    """The version of an installed package without its build, or "unknown"."""
    try:
        return version(package).split("+", maxsplit=1)[0]
    except PackageNotFoundError:
        return "unknown"
