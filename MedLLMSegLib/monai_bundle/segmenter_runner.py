"""The parts that a bundle's configs/inference.json names for MONAI's own runner, where MONAI has
no equal part.

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . --scan
    crop.nii.gz --output_dir out

Nothing in this library reads or evaluates that file. The label map is the one of `medllmseg
segment` for the same scan. The rest of the configuration is MONAI's own: LoadImaged,
EnsureChannelFirstd, ClipIntensityPercentilesd, NormalizeIntensityd, Activationsd, Invertd,
AsDiscreted, KeepLargestConnectedComponentd, SaveImaged. The parts here, and why:

- `ScanReader` reads files for LoadImaged as `medllmseg segment` does: readers differ in the last
  digits of a grid, and in which of NIfTI's two matrices they use.
- `NetworkGridd` takes the place of Orientationd and Spacingd. Those keep the first voxel where it
  is; our grid keeps the middle of the scan, and averages voxels far finer than the grid first.
- `WindowInferer` differs from MONAI's SlidingWindowInferer, which pads a short axis up to the
  window; ours takes it as it is.
- `EitherWayInferer` tries a crop of unspecified side both ways round and takes the more confident
  answer.
- `Evaluator` needs no pytorch-ignite, unlike MONAI's SupervisedEvaluator.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import ImageReader, MetaTensor, decollate_batch
from monai.inferers import Inferer, SlidingWindowInferer
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import MetaKeys, SpaceKeys
from torch import Tensor, nn

from MedLLMSegLib.core.axis_order import AxisOrder
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.segmentation.clean import largest_component
from MedLLMSegLib.segmentation.localize import is_crop
from MedLLMSegLib.segmentation.pipeline import load_model
from MedLLMSegLib.segmentation.prepare import Restore, whole_grid
from MedLLMSegLib.segmentation.restore import restore

# The columns of a matrix on (i, j, k, 1) in the order of one on (k, j, i, 1), and back.
_REVERSED_AXES = [2, 1, 0, 3]


def load_network(folder: PathLike) -> nn.Module:
    """The network of a bundle's folder: image (B, 1, K, J, I) -> logits (B, classes, K, J, I).

    Its weights and the frozen language-model block are read through this library and verified by
    sha256; the block is not part of the folder. Raises `UserError` when something is missing or
    changed.
    """
    return load_model(str(folder), "cpu").network


class ScanReader(ImageReader):
    """For LoadImaged: every format of `load_volume`, as float64 (I, J, K) with an affine to RAS."""

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Every file: `load_volume` raises the right error."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Volume:
        """The scan of a file, or of the first of several."""
        if not isinstance(data, (str, os.PathLike)):
            data = data[0]
        return load_volume(data)

    def get_data(self, img: Volume) -> tuple[Array, dict[str, Any]]:
        """(array (I, J, K), or (I, J, K, T) for a series; MONAI's metadata)"""
        array = np.asarray(img.array, np.float64).T
        return array, {
            MetaKeys.AFFINE: img.ijk_to_ras,
            MetaKeys.ORIGINAL_AFFINE: img.ijk_to_ras.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.array(array.shape[:3]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if array.ndim == 3 else -1,
        }


class CropOnlyd(MapTransform):
    """Refuse a whole head: the bundle's localizer only runs in `medllmseg segment`."""

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        for key in self.key_iterator(data):
            volume = _volume(data[key])
            if not is_crop(volume):
                raise UserError(
                    f'"{volume.name}" is larger than a crop around one organ, which is all that'
                    " MONAI's runner can segment; use `medllmseg segment`, or crop the scan"
                    " first."
                )
        return dict(data)


class NetworkGridd(MapTransform, InvertibleTransform):
    """A whole scan onto the network's grid, and back.

    Takes MetaTensors (1, I, J, K) as LoadImaged and EnsureChannelFirstd leave them. Returns float32
    (1, k, j, i) with the affine of these axes. The inverse takes class probabilities (c, k, j, i),
    background first, to the scan's voxels (c, I, J, K). spacing_mm, axes: as for `whole_grid`.
    in_body_axes: the scan is brought into the body's order of axes first, as `segment` does with
    whole scans.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: float | Sequence[float],
        axes: str = "ras",
        in_body_axes: bool = False,
        allow_missing_keys: bool = False,
    ):
        super().__init__(keys, allow_missing_keys)
        self.spacing_mm, self.axes, self.in_body_axes = spacing_mm, axes, in_body_axes

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            scan = result[key]
            volume = _volume(scan)
            check_scan(volume)
            if self.in_body_axes:
                order = AxisOrder.of(volume.grid)
                matrix = order.ordered_grid(volume.grid).ijk_to_ras
                array = np.ascontiguousarray(order.ordered(volume.array))
                volume = replace(volume, array=array, ijk_to_ras=matrix)
            grid = whole_grid(volume, self.spacing_mm, self.axes)
            array = resample(volume.array, volume.grid, grid)  # [k, j, i]
            on_grid = _with_affine(scan, array[None], grid.ijk_to_ras[:, _REVERSED_AXES])
            result[key] = self.push_transform(
                on_grid,
                orig_size=tuple(scan.shape[1:]),
                extra_info={
                    "stored": _grid_to_json(_volume(scan).grid),
                    "scan": _grid_to_json(volume.grid),
                    "crop": _grid_to_json(grid),
                },
            )
        return result

    def inverse(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        """Class probabilities (c, k, j, i) -> (c, I, J, K) on the scan's voxels."""
        result = dict(data)
        for key in self.key_iterator(result):
            grids = self.pop_transform(result[key])["extra_info"]
            way_back = Restore(_grid_from_json(grids["scan"]), _grid_from_json(grids["crop"]))
            probabilities = result[key].as_tensor().float().cpu().numpy()
            values, _ = restore(probabilities, way_back)  # the grid covers the whole scan
            stored = _grid_from_json(grids["stored"])
            if self.in_body_axes:
                values = AxisOrder.of(stored).stored(values)
            result[key] = _with_affine(result[key], values.transpose(0, 3, 2, 1), stored.ijk_to_ras)
        return result


class PlausibleVolumed(MapTransform):
    """Refuse class probabilities (c, k, j, i) whose largest part does not have an organ's volume.

    plausible_ml: (lowest, highest).
    """

    def __init__(
        self, keys: KeysCollection, plausible_ml: Sequence[float], allow_missing_keys: bool = False
    ):
        super().__init__(keys, allow_missing_keys)
        self.plausible_ml = plausible_ml

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict[Hashable, MetaTensor]:
        low, high = self.plausible_ml
        for key in self.key_iterator(data):
            background = data[key].as_tensor()[0].cpu().numpy()  # [k, j, i]
            organ = largest_component(background < 0.5)
            voxel_ml = float(abs(torch.linalg.det(data[key].affine[:3, :3]))) / 1000
            ml = organ.sum() * voxel_ml
            if not low <= ml <= high:
                raise UserError(
                    f"What was found has {ml:.2f} mL, and the organ has {low:g} to {high:g} mL; "
                    "give a scan of the kind the model was trained on."
                )
        return dict(data)


class WindowInferer(Inferer):
    """As `predict`: whole where the image is no larger than the window, else in sliding windows.

    roi_size: (k, j, i) voxels; an axis that is shorter is taken as it is. overlap: fraction of a
    window. temperature: of the model's calibration; the logits are divided by it.
    """

    def __init__(self, roi_size: Sequence[int], overlap: float = 0.5, temperature: float = 1.0):
        super().__init__()
        self.roi_size, self.overlap, self.temperature = tuple(roi_size), overlap, temperature

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Image (B, 1, K, J, I) -> logits (B, classes, K, J, I), with a MetaTensor's metadata."""
        if not isinstance(inputs, MetaTensor):
            return self._logits(inputs, network, *args, **kwargs) / self.temperature
        logits = self._logits(inputs.as_tensor(), network, *args, **kwargs) / self.temperature
        return MetaTensor(logits).copy_meta_from(inputs)

    def _logits(
        self, image: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        shape = tuple(image.shape[2:])
        window = tuple(min(size, n) for size, n in zip(self.roi_size, shape, strict=True))

        def predict_window(patch: Tensor) -> Tensor:
            return network(patch, *args, **kwargs).float()

        if window == shape:
            return predict_window(image)
        sliding = SlidingWindowInferer(
            window, sw_batch_size=1, overlap=self.overlap, mode="gaussian"
        )
        return cast(Tensor, sliding(image, predict_window))


class EitherWayInferer(WindowInferer):
    """For a crop around an organ of unspecified side: as it is and mirrored along i.

    The networks know the left organ. The more confident answer is taken. As in `cascade`, the
    confidence is the mean probability of the winning class over the organ's voxels.
    """

    def _logits(
        self, image: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        plain = super()._logits(image, network, *args, **kwargs)
        mirrored = super()._logits(image.flip(-1), network, *args, **kwargs).flip(-1)
        pairs = zip(plain, mirrored, strict=True)  # of each image in the batch
        return torch.stack([max(pair, key=self._confidence) for pair in pairs])

    def _confidence(self, logits: Tensor) -> float:
        """Logits (classes, K, J, I) -> 0 to 1; 0 where no organ is found."""
        probabilities = torch.softmax(logits / self.temperature, 0)
        organ = probabilities[0] < 0.5
        return float(probabilities.amax(0)[organ].mean()) if organ.any() else 0.0


class Evaluator:
    """Runs a data loader's scans through the network, without pytorch-ignite.

    Its arguments have the names of MONAI's SupervisedEvaluator. Where ignite is installed,
    `--evaluator#_target_ SupervisedEvaluator` can replace it.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: Iterable[dict[str, Any]],
        network: nn.Module,
        inferer: Callable[[Tensor, nn.Module], Tensor],
        postprocessing: Callable[[dict[str, Any]], Any],
    ) -> None:
        self.device, self.network, self.inferer = device, network, inferer
        self.val_data_loader, self.postprocessing = val_data_loader, postprocessing

    @torch.no_grad()
    def run(self) -> None:
        """Each batch {"image": (B, 1, k, j, i)} gets "pred"; then each scan is postprocessed."""
        self.network.eval()
        for batch in self.val_data_loader:
            image = batch["image"].to(self.device)
            prediction = self.inferer(image, self.network)
            for scan in decollate_batch({**batch, "image": image, "pred": prediction}):
                self.postprocessing(scan)


def _grid_to_json(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "ijk_to_ras": grid.ijk_to_ras.tolist()}


def _grid_from_json(data: dict[str, Any]) -> Grid:
    k, j, i = data["shape"]
    return Grid((k, j, i), np.array(data["ijk_to_ras"]))


def _volume(image: MetaTensor) -> Volume:
    """A MetaTensor (c, I, J, K) with an affine to RAS as a Volume."""
    array = image.as_tensor().cpu().numpy().transpose(0, 3, 2, 1)  # (c, k, j, i)
    if len(array) == 1:
        array = array[0]
    affine = image.affine.cpu().numpy().astype(float)
    return Volume(array, affine, str(image.meta.get("filename_or_obj", "scan")))


def _with_affine(like: MetaTensor, array: Array, affine: Array) -> MetaTensor:
    """An array (c, ...) with another MetaTensor's metadata, and its own affine."""
    result = MetaTensor(torch.from_numpy(np.ascontiguousarray(array))).copy_meta_from(like)
    result.affine = torch.from_numpy(affine)
    return result
