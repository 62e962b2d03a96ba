"""The parts that a bundle's configs/inference.json names for MONAI's own runner, where MONAI has
none that is equal.

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . --scan
    crop.nii.gz --output_dir out

Nothing in this library reads or evaluates that file. The label map is the one of `medllmseg
segment` for the same scan. What is MONAI's own in it: LoadImaged, EnsureChannelFirstd,
ClipIntensityPercentilesd, NormalizeIntensityd, Activationsd, Invertd, AsDiscreted,
KeepLargestConnectedComponentd, SaveImaged. What is here, and why:

- `ScanReader` reads files for LoadImaged as `medllmseg segment` does: readers differ in the last
  digits of a grid, and in
  which of NIfTI's two matrices they believe.
- `NetworkGridd` stands for Orientationd and Spacingd: those keep the first voxel where it is, our
  grid keeps the middle
  of the scan, and voxels far finer than the grid are averaged first.
- `WindowInferer` is MONAI's SlidingWindowInferer, which pads a short axis up to the window; ours
  goes through as it is.
- `EitherWayInferer` tries a crop of unspecified side both ways round and takes the surer answer.
- `Evaluator` needs no pytorch-ignite, as MONAI's SupervisedEvaluator would.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np
import torch
from monai.data import ImageReader, MetaTensor, decollate_batch
from monai.inferers import Inferer, SlidingWindowInferer
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import MetaKeys, SpaceKeys
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, resample
from MedLLMSegLib.core.volume import Volume, check_scan
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.segmentation.localize import is_crop
from MedLLMSegLib.segmentation.pipeline import load_model
from MedLLMSegLib.segmentation.prepare import Restore, whole_grid
from MedLLMSegLib.segmentation.restore import largest_component, restore

_FROM_KJI = [
    2,
    1,
    0,
    3,
]  # columns of a matrix on (i, j, k, 1) in the order of one on (k, j, i, 1), and back


def load_network(folder) -> nn.Module:
    """The network of a bundle's folder, ready for use: image (B, 1, K, J, I) -> logits (B, classes,
    K, J, I).

    Its weights and the frozen language-model block are read through this library and verified by
    sha256; the block is not part of the folder. Raises `UserError` when something is missing or
    changed.
    """
    return load_model(str(folder), "cpu").network


class ScanReader(ImageReader):
    """For LoadImaged: every format of `files.load_volume`, as float64 (I, J, K) with its affine
    to RAS.
    """

    def verify_suffix(self, filename) -> bool:
        return True

    def read(self, data, **kwargs) -> Volume:
        return load_volume(data[0] if isinstance(data, (list, tuple)) else data)

    def get_data(self, img: Volume) -> tuple[np.ndarray, dict]:
        array = np.asarray(img.array, np.float64).T  # (I, J, K), or (I, J, K, T) for a series
        return array, {
            MetaKeys.AFFINE: img.ijk_to_ras,
            MetaKeys.ORIGINAL_AFFINE: img.ijk_to_ras.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.array(array.shape[:3]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if array.ndim == 3 else -1,
        }


class CropOnlyd(MapTransform):
    """Refuse a whole head: the bundle's localizer, which finds the organ there, runs in
    `medllmseg segment` only.
    """

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict:
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

    Takes MetaTensors (1, I, J, K) as LoadImaged and EnsureChannelFirstd leave them; gives float32
    (1, k, j, i), whose affine says so. The inverse takes class probabilities (c, k, j, i),
    background first, to the scan's voxels (c, I, J, K). spacing_mm, axes: as for
    `preprocess.whole_grid`.
    """

    def __init__(
        self,
        keys,
        spacing_mm: float | Sequence[float],
        axes: str = "ras",
        allow_missing_keys: bool = False,
    ):
        super().__init__(keys, allow_missing_keys)
        self.spacing_mm, self.axes = spacing_mm, axes

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        d = dict(data)
        for key in self.key_iterator(d):
            volume = _volume(d[key])
            check_scan(volume)
            grid = whole_grid(volume, self.spacing_mm, self.axes)
            array = resample(volume.array, volume.grid, grid)  # [k, j, i]
            result = _with_affine(d[key], array[None], grid.ijk_to_ras[:, _FROM_KJI])
            way_back = {
                name: {"shape": list(g.shape), "ijk_to_ras": g.ijk_to_ras.tolist()}
                for name, g in (("scan", volume.grid), ("crop", grid))
            }
            d[key] = self.push_transform(
                result, orig_size=tuple(d[key].shape[1:]), extra_info=way_back
            )
        return d

    def inverse(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        d = dict(data)
        for key in self.key_iterator(d):
            known = self.pop_transform(d[key])["extra_info"]
            scan, crop = (
                Grid(tuple(known[n]["shape"]), np.array(known[n]["ijk_to_ras"]))
                for n in ("scan", "crop")
            )
            values, _ = restore(
                d[key].as_tensor().float().cpu().numpy(), Restore(scan, crop)
            )  # the grid covers the scan
            d[key] = _with_affine(
                d[key], values.transpose(0, 3, 2, 1), scan.ijk_to_ras
            )  # (c, I, J, K)
        return d


class PlausibleVolumed(MapTransform):
    """Refuse class probabilities (c, k, j, i) whose largest part has not an organ's volume:
    plausible_ml = (low, high).
    """

    def __init__(self, keys, plausible_ml: Sequence[float], allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self.plausible_ml = plausible_ml

    def __call__(self, data: Mapping[Hashable, MetaTensor]) -> dict:
        low, high = self.plausible_ml
        for key in self.key_iterator(data):
            organ = largest_component(data[key][0].as_tensor().cpu().numpy() < 0.5)
            ml = organ.sum() * float(abs(torch.linalg.det(data[key].affine[:3, :3]))) / 1000
            if not low <= ml <= high:
                raise UserError(
                    f"What was found has {ml:.2f} mL, and the organ has {low:g} to {high:g} mL; "
                    "give a scan of the kind the model was trained on."
                )
        return dict(data)


class WindowInferer(Inferer):
    """As `inference.predict`: whole where the image is no larger than the window, else MONAI's
    sliding window.

    roi_size: (k, j, i) voxels; an axis that is shorter is taken as it is. overlap: share of a
    window. temperature: of the model's calibration; the logits are divided by it.
    """

    def __init__(self, roi_size: Sequence[int], overlap: float = 0.5, temperature: float = 1.0):
        super().__init__()
        self.roi_size, self.overlap, self.temperature = tuple(roi_size), overlap, temperature

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args, **kwargs) -> Tensor:
        """Image (B, 1, K, J, I) -> logits (B, classes, K, J, I), with what a MetaTensor knows."""
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        logits = self._logits(image, network, *args, **kwargs) / self.temperature
        return (
            MetaTensor(logits).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else logits
        )

    def _logits(self, image: Tensor, network, *args, **kwargs) -> Tensor:
        window = tuple(min(w, n) for w, n in zip(self.roi_size, image.shape[2:]))
        if window == tuple(image.shape[2:]):
            return network(image, *args, **kwargs).float()
        sliding = SlidingWindowInferer(
            window, sw_batch_size=1, overlap=self.overlap, mode="gaussian"
        )
        return sliding(image, lambda patch: network(patch, *args, **kwargs).float())


class EitherWayInferer(WindowInferer):
    """For a crop around an organ of unspecified side: as it is and mirrored along i, and the surer
    answer is taken.

    The networks know the left organ. Sure is, as in `pipeline`, the mean probability of the winning
    class over the voxels that are likelier organ than background.
    """

    def _logits(self, image: Tensor, network, *args, **kwargs) -> Tensor:
        ways = [
            super()._logits(image, network, *args, **kwargs),
            super()._logits(image.flip(-1), network, *args, **kwargs).flip(-1),
        ]
        return torch.stack([max(pair, key=self._sureness) for pair in zip(*ways)])

    def _sureness(self, logits: Tensor) -> float:
        """Logits (classes, K, J, I) -> 0 to 1; 0 where no organ is seen."""
        probabilities = torch.softmax(logits / self.temperature, 0)
        organ = probabilities[0] < 0.5
        return float(probabilities.amax(0)[organ].mean()) if organ.any() else 0.0


class Evaluator:
    """Runs a data loader's scans through the network: what a bundle's `evaluator` is, without
    pytorch-ignite.

    Its arguments have the names of MONAI's SupervisedEvaluator, so that `--evaluator#_target_
    SupervisedEvaluator` takes its place where ignite is installed.
    """

    def __init__(
        self,
        device: torch.device,
        val_data_loader: Iterable,
        network: nn.Module,
        inferer: Callable,
        postprocessing: Callable,
    ):
        self.device, self.network, self.inferer = device, network, inferer
        self.val_data_loader, self.postprocessing = val_data_loader, postprocessing

    @torch.no_grad()
    def run(self) -> None:
        """Each batch {"image": (B, 1, k, j, i)} -> "pred", then the postprocessing of each of
        its scans.
        """
        self.network.eval()
        for batch in self.val_data_loader:
            image = batch["image"].to(self.device)
            for one in decollate_batch(
                {**batch, "image": image, "pred": self.inferer(image, self.network)}
            ):
                self.postprocessing(one)


def _volume(image: MetaTensor) -> Volume:
    """A MetaTensor (c, I, J, K), RAS affine, as a Volume."""
    array = image.as_tensor().cpu().numpy().transpose(0, 3, 2, 1)  # (c, k, j, i)
    name = str(image.meta.get("filename_or_obj", "scan"))
    return Volume(
        array[0] if len(array) == 1 else array, image.affine.cpu().numpy().astype(float), name
    )


def _with_affine(like: MetaTensor, array: np.ndarray, affine: np.ndarray) -> MetaTensor:
    """An array (c, ...) with what another MetaTensor knows, but its own affine."""
    result = MetaTensor(torch.from_numpy(np.ascontiguousarray(array))).copy_meta_from(like)
    result.affine = torch.from_numpy(affine)
    return result
