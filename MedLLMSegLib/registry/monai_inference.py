"""configs/inference.json of a segmenter's bundle: what MONAI's own runner does with it (no MONAI
here).

Source: MONAI Bundle Specification (docs/source/mb_specification.rst). Our own code never evaluates
inference.json; the classes it names are in `monai_bundle.segmenter_runner`. One thing differs from
other MONAI bundles: there is no models/model.pt, which is a pickle. The network_def reads and
verifies our safetensors itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from MedLLMSegLib.core.types import Json

from .input_channels import channels_of
from .monai_fields import class_names
from .segmenter_settings import largest_part_rule, window_shape

_RUNNER = "MedLLMSegLib.monai_bundle.segmenter_runner"
_SIDED = "MedLLMSegLib.monai_bundle.sided_runner"


def runs_in_monai(metadata: Json) -> bool:
    """Whether MONAI's own runner can run a segmenter: it reads one image a patient, and brings no
    second one onto the first one's grid.
    """
    return len(channels_of(metadata["preprocessing"])) <= 1


def inference_config(metadata: Json) -> Json:
    """The content of configs/inference.json for a segmenter's metadata.

    A run takes bundle_root, device, output_dir, and either scan (one file of any format that we
    read) or dataset_dir (a folder of .nii or .nii.gz). It writes each label map as NAME_seg.nii.gz.
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
        "preprocessing": compose(_preprocessing(metadata)),
        **image_loading(),
        "inferer": _inferer(metadata),
        "postprocessing": compose(_postprocessing(metadata)),
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


def image_loading() -> Json:
    """The dataset and the loader of one image after another, through "@preprocessing"."""
    return {
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
    }


def compose(transforms: list[Json]) -> Json:
    """MONAI's Compose of these transforms."""
    return {"_target_": "Compose", "transforms": transforms}


def _preprocessing(metadata: Json) -> list[Json]:
    settings = metadata["preprocessing"]
    axes = "ras" if metadata.get("anatomy") else settings.get("axes", "ras")
    crop_only = {"_target_": f"{_RUNNER}.CropOnlyd", "keys": "image"}
    return [
        {
            "_target_": "LoadImaged",
            "keys": "image",
            "reader": f"{_RUNNER}.ScanReader",
            "image_only": True,
            "dtype": "$numpy.float64",
        },
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        *([crop_only] if metadata.get("localizer") else []),
        {
            "_target_": f"{_RUNNER}.NetworkGridd",
            "keys": "image",
            "spacing_mm": settings["spacing_mm"],
            "axes": axes,
            **({"in_body_axes": True} if axes == "ras" and not metadata.get("anatomy") else {}),
        },
        *([] if _tells_sides(metadata) else _normalisation(_scale(settings))),
    ]


def _tells_sides(metadata: Json) -> bool:
    """Whether the network tells left from right by one more output (`monai_bundle.sided_runner`).

    Its inferer normalises what it looks at, as it may look twice.
    """
    return bool((metadata.get("network") or {}).get("sides"))


def _scale(settings: Json) -> Sequence[float] | None:
    """The normalisation of the image that a model takes."""
    channels = channels_of(settings)
    return channels[0].grey if channels else settings.get("grey")


def _normalisation(scale: Sequence[float] | None) -> list[Json]:
    """The same as `segmentation.prepare` does. scale: low, high, mean and standard deviation."""
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


def _inferer(metadata: Json) -> Json:
    temperature = (metadata.get("calibration") or {}).get("temperature", 1.0)
    settings = metadata["preprocessing"]
    if _tells_sides(metadata):
        names = ("spacing_mm", "window", "whole_vox", "closer_look_mm", "grey")
        return {
            "_target_": f"{_SIDED}.SidedInferer",
            "settings": {name: settings[name] for name in names if settings.get(name)},
            "label_table": metadata["label_table"],
            "temperature": temperature,
        }
    kind = "EitherWayInferer" if metadata.get("anatomy") else "WindowInferer"
    return {
        "_target_": f"{_RUNNER}.{kind}",
        "roi_size": list(window_shape(settings)),
        "overlap": 0.5,
        "temperature": temperature,
    }


def _postprocessing(metadata: Json) -> list[Json]:
    to_labels = _sided_labels(metadata) if _tells_sides(metadata) else _class_labels(metadata)
    return [
        *to_labels,
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


_BACK_TO_THE_SCAN: Json = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": False,
    "to_tensor": True,
}


def _class_labels(metadata: Json) -> list[Json]:
    """From logits to the label map."""
    count = len(class_names(metadata))
    plausible = {
        "_target_": f"{_RUNNER}.PlausibleVolumed",
        "keys": "pred",
        "plausible_ml": metadata["preprocessing"].get("plausible_ml"),
    }
    return [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        *([plausible] if metadata.get("anatomy") else []),
        _BACK_TO_THE_SCAN,
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        *_cleaning(metadata, count),
        *_label_values(metadata, count),
    ]


def _sided_labels(metadata: Json) -> list[Json]:
    """From what `SidedInferer` gives to the label map."""
    labels = {
        "_target_": f"{_SIDED}.SidedLabelsd",
        "keys": "pred",
        "label_table": metadata["label_table"],
        "rule": largest_part_rule(metadata["preprocessing"]),
    }
    return [_BACK_TO_THE_SCAN, labels]


def _cleaning(metadata: Json, count: int) -> list[Json]:
    """Keep the largest connected part: of the organ, or as the bundle's rule says."""
    rule = "together" if metadata.get("anatomy") else largest_part_rule(metadata["preprocessing"])
    if rule is None:
        return []
    independent_steps = {"each": [True], "together": [False], "both": [False, True]}[rule]
    return [
        {
            "_target_": "KeepLargestConnectedComponentd",
            "keys": "pred",
            "independent": independent,
            "connectivity": 3,
            "applied_labels": list(range(1, count)),
        }
        for independent in independent_steps
    ]


def _label_values(metadata: Json, count: int) -> list[Json]:
    """From the network's classes to the values of the label map, where they differ."""
    classes = list(range(1, count))
    values = [label["label"] for label in metadata.get("labels") or ()]
    if not values or values == classes:
        return []
    return [
        {
            "_target_": "MapLabelValued",
            "keys": "pred",
            "orig_labels": [0, *classes],
            "target_labels": [0, *values],
        }
    ]
