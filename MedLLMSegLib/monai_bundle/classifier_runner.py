"""The parts that a classifier's configs/inference.json names for MONAI's own runner, where MONAI
has no equal part.

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . --scan chest.dcm
    --output_dir out

Nothing in this library reads or evaluates that file. The probabilities are those of `medllmseg
diagnose` for the same file. The rest of the configuration is MONAI's own: SimpleInferer,
Activationsd, SaveClassificationd. MONAI's readers use neither windows nor MONOCHROME1, so the image
is read and prepared here. The evaluator is that of `segmenter_runner.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor, nn

from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.diagnosis.input_checks import check_modality
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.registry.classifier_config import PreparationConfig


class CalibratedLogits(nn.Module):
    """A classifier of single images as MONAI calls a network: a tensor in, a tensor out.

    temperature: of the bundle's calibration; the logits are divided by it.
    """

    def __init__(self, network: Classifier, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, size, size) -> logits (B, classes)."""
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        return self.network({"image": plain}).float() / self.temperature


def load_network(folder: PathLike) -> nn.Module:
    """The network of a bundle's folder: image (B, 1, size, size) -> logits (B, classes).

    Its weights and the language model's layers are verified by sha256.
    Raises `UserError` when something is missing or changed.
    """
    model = load_classifier(str(folder), "cpu")
    return CalibratedLogits(model.network, model.temperature).eval()


class PreparedRadiographd(MapTransform):
    """A file's path to the (1, size, size) array for the network, and its metadata for MONAI.

    preparation, input: as in the bundle's metadata. model: its id, for messages. Raises `UserError`
    for images that `diagnose` refuses.
    """

    def __init__(
        self,
        keys: KeysCollection,
        preparation: Json,
        input: Json,
        model: str,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.preparation = PreparationConfig.from_dict(preparation)
        self.input = InputConfig.from_dict(input)
        self.model = model

    def __call__(self, data: Mapping[Hashable, str]) -> dict[Hashable, Any]:
        """Adds "image_meta_dict" for the key "image"."""
        result: dict[Hashable, Any] = dict(data)
        for key in self.key_iterator(data):
            path = str(data[key])
            radiograph = load_radiograph(path, ct=self.input.ct)
            check_modality(radiograph.modality, self.input, radiograph.volume.name, self.model)
            array, _ = prepare_radiograph(radiograph, self.preparation)
            result[key] = torch.from_numpy(array)
            result[f"{key}_meta_dict"] = {"filename_or_obj": path}
        return result
