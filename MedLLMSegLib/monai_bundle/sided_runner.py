"""The parts that the configs/inference.json of a network of structures and sides names for MONAI's
own runner, beside those of `segmenter_runner`.

Such a network gives the logits of structures without a side, and one more for right rather than
left. `SidedInferer` looks as `medllmseg segment` does: at the whole scan, then closer at what it
has found there, each normalised by itself; so it takes the scan's own grey values. `SidedLabelsd`
makes the label map. A scan without a brain is not refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor

from MedLLMSegLib.core.axis_order import AxisOrder
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.registry.segmenter_settings import window_for
from MedLLMSegLib.segmentation.clean import keep_largest
from MedLLMSegLib.segmentation.closer_look import closer_box
from MedLLMSegLib.segmentation.prepare import Preparation, normalise
from MedLLMSegLib.segmentation.scores import Reading

from .segmenter_runner import WindowInferer

# Of each class, background included, the labels of its left and its right side; equal without one.
LabelTable = Sequence[Sequence[int]]


def _reading(label_table: LabelTable, temperature: float = 1.0) -> Reading:
    paired = tuple(left != right for left, right in label_table)
    return Reading(len(paired), temperature, paired)


class SidedInferer(Inferer):
    """Grey values on the network's grid -> what may be interpolated (`Reading.values`).

    settings: of the bundle's "preprocessing": spacing_mm, and maybe window, whole_vox,
    closer_look_mm and grey. temperature: of the model's calibration.
    """

    def __init__(self, settings: Json, label_table: LabelTable, temperature: float = 1.0):
        super().__init__()
        self.settings = settings
        self.reading = _reading(label_table, temperature)
        self.preparation = Preparation.from_settings(settings)

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Image (B, 1, K, J, I), not normalised -> values (B, outputs, K, J, I), with a
        MetaTensor's metadata.
        """
        images = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        values = torch.stack([self._values(image[0], network) for image in images])
        if not isinstance(inputs, MetaTensor):
            return values
        return MetaTensor(values).copy_meta_from(inputs)

    def _values(self, image: Tensor, network: Callable[..., Tensor]) -> Tensor:
        """Grey values (K, J, I) -> (outputs, K, J, I). Where the closer look does not reach, all is
        background.
        """
        logits = self._look(image, network)
        box = closer_box(
            self.reading.winners(logits).cpu().numpy(), self._spacing_mm(), self.settings
        )
        if box is None:
            return self._values_of(logits)
        values = torch.zeros_like(logits)
        values[0] = 1
        values[(slice(None), *box)] = self._values_of(self._look(image[box], network))
        return values

    def _look(self, image: Tensor, network: Callable[..., Tensor]) -> Tensor:
        """Grey values (k, j, i) -> logits (outputs, k, j, i)."""
        prepared = torch.from_numpy(normalise(image.cpu().numpy(), self.preparation.grey))
        k, j, i = image.shape
        window = WindowInferer(window_for(self.settings, (k, j, i)))
        logits: Tensor = window(prepared[None, None].to(image.device), network)[0]
        return logits

    def _values_of(self, logits: Tensor) -> Tensor:
        return self.reading.values(logits.flatten(1)).view_as(logits)

    def _spacing_mm(self) -> Sequence[float]:
        """Of the network's grid, along (k, j, i)."""
        spacing = self.preparation.spacing_mm
        return spacing if isinstance(spacing, Sequence) else (spacing,) * 3


class SidedLabelsd(MapTransform):
    """Interpolated values (outputs, I, J, K) -> the label map (1, I, J, K), cleaned.

    rule: by which parts stay, a key of `LARGEST_PART_RULES`; None for all. Of parts of one
    size MONAI's own transform keeps others than `medllmseg segment`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_table: LabelTable,
        rule: str | None = None,
        allow_missing_keys: bool = False,
    ):
        super().__init__(keys, allow_missing_keys)
        self.rule = rule
        self.reading = _reading(label_table)
        # by number: all left ones, then all right ones
        self.labels = torch.from_numpy(np.array(label_table, np.uint8).T.reshape(-1).copy())

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            values = result[key].as_tensor()
            numbers, _ = self.reading.winners_of_values(values.flatten(1))
            labels = self.labels.to(values.device)[numbers.long()].view(1, *values.shape[1:])
            if self.rule is not None:
                labels = self._cleaned(labels, result[key].affine)
            result[key] = MetaTensor(labels).copy_meta_from(result[key])
        return result

    def _cleaned(self, labels: Tensor, affine: Tensor) -> Tensor:
        """Labels (1, I, J, K), which are cleaned in the body's order of axes, as `segment` does."""
        array = labels[0].cpu().numpy().transpose(2, 1, 0)  # [k, j, i]
        k, j, i = array.shape
        order = AxisOrder.of(Grid((k, j, i), affine.cpu().numpy().astype(float)))
        kept = keep_largest(np.ascontiguousarray(order.ordered(array)), str(self.rule))
        return torch.from_numpy(order.stored(kept).transpose(2, 1, 0).copy())[None]
