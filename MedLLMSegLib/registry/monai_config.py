"""What makes a bundle one that MONAI can run: configs/inference.json, and the fields of its
metadata.json (no MONAI here).

Sources: MONAI Bundle Specification (docs/source/mb_specification.rst), the JSON schema named in
`SCHEMA`, and the ids of monai/bundle/properties.py. Our own code never reads inference.json, let
alone evaluates it; see `monai_runner.py`. One thing differs: there is no models/model.pt, a pickle;
the network_def reads our safetensors itself, verified.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from MedLLMSegLib.anatomy.structures import ANATOMY
from MedLLMSegLib.core.version import __version__

from .cards import over_groups
from .segmenter_settings import WINDOW, asked_largest, window_of

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
_RUNNER = "MedLLMSegLib.monai_bundle.segmenter_runner"


def class_names(metadata: dict) -> list[str]:
    """What each class of the network is, background first."""
    if metadata["kind"] != "segmenter":
        return [name.replace("_", " ").capitalize() for name in metadata["classes"]]
    if metadata.get("anatomy"):
        return ["Background", *(s.name for s in ANATOMY[metadata["anatomy"]](lateral=False))]
    return ["Background", *(each["name"] for each in metadata["labels"])]


def inference_config(metadata: dict) -> dict:
    """The content of configs/inference.json for a segmenter's metadata.

    Parameters of a run: bundle_root, device, output_dir, and either scan (one file, of any format
    that we read) or dataset_dir (a folder of .nii, .nii.gz). The label map is written as
    NAME_seg.nii.gz.
    """
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "scan": None,
        "dataset_dir": ".",
        "datalist": (
            "$[@scan] if @scan else sorted(glob.glob(os.path.join(@dataset_dir, '*.nii*')))"
        ),
        "output_dir": "$os.path.join(@bundle_root, 'eval')",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": f"{_RUNNER}.load_network", "folder": "@bundle_root"},
        "network": "$@network_def.to(@device)",
        "preprocessing": _compose(_preprocessing(metadata)),
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": _inferer(metadata),
        "postprocessing": _compose(_postprocessing(metadata)),
        "evaluator": {
            "_target_": f"{_RUNNER}.Evaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def _compose(transforms: list[dict]) -> dict:
    return {"_target_": "Compose", "transforms": transforms}


def _preprocessing(metadata: dict) -> list[dict]:
    settings = metadata["preprocessing"]
    crop_only = (
        [{"_target_": f"{_RUNNER}.CropOnlyd", "keys": "image"}] if metadata.get("localizer") else []
    )
    return [
        {
            "_target_": "LoadImaged",
            "keys": "image",
            "reader": f"{_RUNNER}.ScanReader",
            "image_only": True,
            "dtype": "$numpy.float64",
        },
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        *crop_only,
        {
            "_target_": f"{_RUNNER}.NetworkGridd",
            "keys": "image",
            "spacing_mm": settings["spacing_mm"],
            "axes": "ras" if metadata.get("anatomy") else settings.get("axes", "ras"),
        },
        *_grey(settings.get("grey")),
    ]


def _grey(scale: list[float] | None) -> list[dict]:
    """As `preprocess.normalise` does."""
    if scale is None:
        return [
            {"_target_": "ClipIntensityPercentilesd", "keys": "image", "lower": 0.5, "upper": 99.5},
            {"_target_": "NormalizeIntensityd", "keys": "image"},
        ]
    low, high, mean, deviation = scale
    return [
        {
            "_target_": "ScaleIntensityRanged",
            "keys": "image",
            "a_min": low,
            "a_max": high,
            "clip": True,
            "b_min": (low - mean) / deviation,
            "b_max": (high - mean) / deviation,
        }
    ]


def _inferer(metadata: dict) -> dict:
    kind = "EitherWayInferer" if metadata.get("anatomy") else "WindowInferer"
    temperature = (metadata.get("calibration") or {}).get("temperature", 1.0)
    window = list(window_of(metadata["preprocessing"]))
    return {
        "_target_": f"{_RUNNER}.{kind}",
        "roi_size": window,
        "overlap": 0.5,
        "temperature": temperature,
    }


def _postprocessing(metadata: dict) -> list[dict]:
    settings, count = metadata["preprocessing"], len(class_names(metadata))
    plausible = {
        "_target_": f"{_RUNNER}.PlausibleVolumed",
        "keys": "pred",
        "plausible_ml": settings.get("plausible_ml"),
    }
    return [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        *([plausible] if metadata.get("anatomy") else []),
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        *_cleaning(metadata, count),
        *_label_values(metadata, count),
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "seg",
            "output_ext": ".nii.gz",
            "output_dtype": "$numpy.uint8",
            "resample": False,
            "separate_folder": False,
        },
    ]


def _cleaning(metadata: dict, count: int) -> list[dict]:
    """The largest connected part of the organ, or of the structures as the model asks for it."""
    how = "together" if metadata.get("anatomy") else asked_largest(metadata["preprocessing"])
    steps = {"each": [True], "together": [False], "both": [False, True]}.get(how, [])
    return [
        {
            "_target_": "KeepLargestConnectedComponentd",
            "keys": "pred",
            "independent": independent,
            "connectivity": 3,
            "applied_labels": list(range(1, count)),
        }
        for independent in steps
    ]


def _label_values(metadata: dict, count: int) -> list[dict]:
    """From the network's classes to the label map's values, where they differ."""
    values = [each["label"] for each in metadata.get("labels") or ()] or list(range(1, count))
    if values == list(range(1, count)):
        return []
    return [
        {
            "_target_": "MapLabelValued",
            "keys": "pred",
            "orig_labels": list(range(count)),
            "target_labels": [0, *values],
        }
    ]


def monai_fields(metadata: dict) -> dict:
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
        "monai_version": _installed("monai"),
        "pytorch_version": _installed("torch"),
        "numpy_version": _installed("numpy"),
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


def eval_metrics(results: dict | None) -> dict[str, float]:
    """Measured means by name ("mean_dice", "dice_anterior", "hd95_mm") from a summary of `medllmseg
    evaluate`, over heads or patients.

    "ece" and "risk_coverage" are such means too; the calibration over all voxels together stands in
    "calibration".
    """
    if (
        not results or "mean" not in results
    ):  # a localizer's are of another kind, and stand in "results"
        return {}
    figures = over_groups(results)
    found = {
        ("mean_dice" if name == "dice" else name): s["mean"] for name, s in figures["means"].items()
    }
    found |= {f"dice_{key}": s["mean"] for key, s in figures["metrics"]["dice"].items()}
    return {name: round(value, 4) for name, value in found.items() if value is not None}


def _data_format(metadata: dict, names: list[str]) -> dict:
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


def _intensity(settings: dict) -> str:
    return settings.get("intensity") or settings.get("normalise") or "as in the scan"


def _installed(package: str) -> str:
    try:
        return version(package).split("+")[0]
    except PackageNotFoundError:
        return "unknown"
