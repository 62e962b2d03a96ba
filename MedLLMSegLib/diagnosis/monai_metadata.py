"""What MONAI needs of a classifier's bundle: fields of its metadata, and configs/inference.json.

Sources as in `registry/monai_fields.py`. Models of sequences, of several channels and of records
have no inference.json.
"""

from __future__ import annotations

from collections.abc import Iterable

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, PreparationConfig
from MedLLMSegLib.registry.monai_fields import REQUIRED, SCHEMA, installed_version
from MedLLMSegLib.registry.monai_inference import compose, image_loading

from .classifier_description import ClassifierDescription

_RUNNER = "MedLLMSegLib.monai_bundle.classifier_runner"


def classifier_inference(metadata: Json) -> Json | None:
    """The content of configs/inference.json; None for a model that takes more than a flat image.

    Parameters of a run: bundle_root, device, output_dir, and either scan (one file, of any format
    that `diagnose` reads) or dataset_dir (a folder of .dcm and .png files). OUTPUT_DIR/
    predictions.csv gets a line for each file: its path, and a probability for each class.
    """
    network = metadata["network"]
    if (
        metadata["input"]["kind"] != "radiograph"
        or network["encoder"]["channels"] != 1
        or network.get("record")
    ):
        return None
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "scan": None,
        "dataset_dir": ".",
        "datalist": (
            "$[@scan] if @scan else sorted(glob.glob(os.path.join(@dataset_dir, '*.dcm')) "
            "+ glob.glob(os.path.join(@dataset_dir, '*.png')))"
        ),
        "output_dir": "$os.path.join(@bundle_root, 'eval')",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": f"{_RUNNER}.load_network", "folder": "@bundle_root"},
        "network": "$@network_def.to(@device)",
        **_data_loading(metadata),
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": _postprocessing(),
        "evaluator": {
            "_target_": "MedLLMSegLib.monai_bundle.segmenter_runner.Evaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def _data_loading(metadata: Json) -> Json:
    """From file paths to batches of prepared images."""
    prepared_radiograph = {
        "_target_": f"{_RUNNER}.PreparedRadiographd",
        "keys": "image",
        "model": metadata["id"],
        "preparation": metadata["preparation"],
        "input": metadata["input"],
    }
    return {
        "preprocessing": compose([prepared_radiograph]),
        **image_loading(),
    }


def _postprocessing() -> Json:
    """Softmax, and a line in predictions.csv."""
    return compose(
        [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {
                "_target_": "SaveClassificationd",
                "keys": "pred",
                "meta_keys": "image_meta_dict",
                "output_dir": "@output_dir",
            },
        ]
    )


def classifier_fields(
    config: ClassifierConfig, preparation: PreparationConfig, about: ClassifierDescription
) -> Json:
    """The fields of MONAI's specification (docs/source/mb_specification.rst)."""
    classes = ", ".join(config.classes)
    probabilities = _output_format(config)
    logits = {**probabilities, "format": "logits", "value_range": []}
    return {
        "schema": SCHEMA,
        "changelog": {about.version: "first version"},
        "monai_version": installed_version("monai"),
        "pytorch_version": installed_version("torch"),
        "numpy_version": installed_version("numpy"),
        "required_packages_version": {"medllmseg": __version__, "fire": REQUIRED["fire"]},
        "description": f"{about.title}. It tells {classes} apart.",
        "copyright": f"{about.authors}; licence: {about.licence}",
        "data_source": about.data,
        "data_type": "files",
        "image_classes": about.modality,
        "label_classes": classes,
        "pred_classes": classes,
        "network_data_format": {
            "inputs": {"image": _input_format(config, preparation, about)},
            "outputs": {"pred": logits},
            "post_processed_outputs": {"pred": probabilities},
        },
    }


def _input_format(
    config: ClassifierConfig, preparation: PreparationConfig, about: ClassifierDescription
) -> Json:
    channels = config.encoder.channels
    names = about.input.names or (about.modality,) * channels
    return {
        "type": "image",
        "format": "magnitude",
        "modality": about.modality,
        "num_channels": channels,
        "spatial_shape": [preparation.size, preparation.size],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": _numbered(names),
    }


def _output_format(config: ClassifierConfig) -> Json:
    return {
        "type": "probabilities",
        "format": "classes",
        "num_channels": len(config.classes),
        "spatial_shape": [len(config.classes)],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": _numbered(config.classes),
    }


def _numbered(names: Iterable[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names)}
