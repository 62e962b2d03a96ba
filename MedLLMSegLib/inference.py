"""A prepared array through a network to class probabilities: whole where it fits, in windows where it does not."""
from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .errors import Progress, UserError

Triple = tuple[int, int, int]
WINDOW: Triple = (96, 96, 96)  # voxels (k, j, i) that go through a network at once where its bundle does not say


def choose_device(name: str = "auto") -> torch.device:
    """"auto" takes CUDA, then Apple's MPS, then the CPU. Raises `UserError` for a device this computer lacks."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if available[d]))
    if name.split(":")[0] not in available:
        raise UserError(f'"{name}" is no device; use auto, cpu, cuda or mps.')
    if not available[name.split(":")[0]]:
        raise UserError(f'This computer has no usable "{name}" device; use --device auto or --device cpu.')
    return torch.device(name)


def window_of(settings: dict) -> Triple:
    """Voxels (k, j, i) that a model takes at once, from its bundle's "preprocessing": those of its training samples.

    Models for crops around one organ take the whole crop, as they always did.
    """
    crops = "search_shape" in settings
    return WINDOW if crops or not settings.get("window") else tuple(int(n) for n in settings["window"])


@torch.inference_mode()
def predict(network: nn.Module, array: np.ndarray, device: torch.device, window: Triple = WINDOW,
            overlap: float = 0.5, progress: Progress | None = None) -> np.ndarray:
    """Logits of a prepared array.

    array: float32 [k, j, i]. Returns float32 [classes, k, j, i].
    An array no larger than `window` goes through whole; a larger one by MONAI's sliding window with Gaussian weights,
    gathered in the computer's memory whatever the device. An axis shorter than the window is taken as it is.
    `progress` is called before each window, and may raise `Cancelled`.
    """
    image = torch.from_numpy(np.ascontiguousarray(array))[None, None]  # (1, 1, K, J, I)
    if all(n <= w for n, w in zip(array.shape, window)):
        if progress:
            progress("segment", 0.0)
        return network(image.to(device))[0].float().cpu().numpy()
    from monai.inferers import sliding_window_inference  # takes seconds to import, and crops do not need it
    from monai.inferers.utils import dense_patch_slices

    window = tuple(min(w, n) for w, n in zip(window, array.shape))
    total = len(dense_patch_slices(array.shape, window, [max(1, int(w * (1 - overlap))) for w in window]))
    done = 0

    def step(patch: torch.Tensor) -> torch.Tensor:
        nonlocal done
        if progress:
            progress("segment", min(1.0, done / total))
        done += 1
        return network(patch).float()

    logits = sliding_window_inference(image, window, 1, step, overlap, mode="gaussian", sw_device=device,
                                      device=torch.device("cpu"))
    return logits[0].numpy()
