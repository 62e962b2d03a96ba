"""Grad-CAM: which places of an image a classifier's answer comes from.

Source: Selvaraju et al., Grad-CAM, ICCV 2017: the channels of a layer, weighted by the mean
gradient of a class's logit with respect to each, summed, and only what speaks for the class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from MedLLMSegLib.networks.classification.classifier import Batch, Classifier


def grad_cam(network: Classifier, batch: Batch, target: int | None) -> tuple[Tensor, Tensor]:
    """(logits (B, classes), maps (N, h, w) of what speaks for a class, 0 or more, not scaled).

    target: the class; None: of each image its likeliest.

    N is the number of images that went through the encoder: B, or B * T of sequences, in the order
    of the batch. The maps cover the prepared images. None went through where all that the layer
    looks at is missing (NaN): then N is 0. Frozen encoders work too, as gradients reach the layer
    from the image. Source: see the module.
    """
    kept: list[Tensor] = []

    def keep(module, inputs, output):
        output.requires_grad_(True) if output.is_leaf else output.retain_grad()
        kept.append(output)

    hook = network.cam_layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            image = batch["image"].detach().clone().requires_grad_(True)
            logits = network({**batch, "image": image})
            score = logits.amax(1) if target is None else logits[:, target]
            gradients = torch.autograd.grad(score.sum(), kept) if kept else ()
    finally:
        hook.remove()
    maps = [
        torch.relu((g.mean((2, 3), keepdim=True) * k.detach()).sum(1))
        for g, k in zip(gradients, kept)
    ]  # (n, h, w) each
    return logits.detach(), torch.cat(maps) if maps else torch.zeros(0, 1, 1)
