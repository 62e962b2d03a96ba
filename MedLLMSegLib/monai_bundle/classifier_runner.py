"""The parts that a classifier's configs/inference.json names for MONAI's own runner, where MONAI
has none that is equal.

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . --scan chest.dcm
    --output_dir out

Nothing in this library reads or evaluates that file. The probabilities are those of `medllmseg
diagnose` for the same file. MONAI's own in it: SimpleInferer, Activationsd, SaveClassificationd.
MONAI's readers heed neither windows nor MONOCHROME1, so the image is read and prepared here; the
evaluator is that of `monai_runner.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor, nn

from MedLLMSegLib.diagnosis.input_checks import check_modality
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.registry.classifier_config import PreparationConfig


class CalibratedLogits(nn.Module):
    """A classifier of single images, as MONAI calls a network; its logits divided by the
    bundle's temperature.
    """

    def __init__(self, network: Classifier, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, size, size) -> logits (B, classes)."""
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        return self.network({"image": plain}).float() / self.temperature


def load_network(folder) -> nn.Module:
    """The network of a bundle's folder, ready for use; its weights and the language model's layers
    are verified by sha256.

    Raises `UserError` when something is missing or changed.
    """
    model = load_classifier(str(folder), "cpu")
    return CalibratedLogits(model.network, model.temperature).eval()


class PreparedRadiographd(MapTransform):
    """A file's path to the (1, size, size) that the network sees, and "image_meta_dict" with its
    name.

    preparation, input: as in the bundle's metadata. model: its id, for messages. Raises `UserError`
    for what `diagnose` refuses.
    """

    def __init__(
        self, keys, preparation: dict, input: dict, model: str, allow_missing_keys: bool = False
    ):
        super().__init__(keys, allow_missing_keys)
        self.preparation, self.input, self.model = (
            PreparationConfig.from_dict(preparation),
            InputConfig.from_dict(input),
            model,
        )

    def __call__(self, data: Mapping[Hashable, str]) -> dict:
        d = dict(data)
        for key in self.key_iterator(d):
            path = str(d[key])
            radiograph = load_radiograph(path, ct=self.input.ct)
            check_modality(radiograph.modality, self.input, radiograph.volume.name, self.model)
            d[key] = torch.from_numpy(prepare_radiograph(radiograph, self.preparation)[0])
            d[f"{key}_meta_dict"] = {"filename_or_obj": path}
        return d
