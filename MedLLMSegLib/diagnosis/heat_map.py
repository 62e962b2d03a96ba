"""Grad-CAM: which places of an image a classifier's answer comes from.

Source: Selvaraju et al., Grad-CAM, ICCV 2017: the channels of a layer, weighted by the mean
gradient of a class's logit with respect to each, summed, and only positive evidence for the class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from MedLLMSegLib.networks.classification.classifier import Batch, Classifier


def grad_cam(network: Classifier, batch: Batch, target: int | None) -> tuple[Tensor, Tensor]:
    """(logits (B, classes), maps (N, h, w) of the evidence for a class, 0 or more, not scaled).

    target: the class; None: the likeliest class of each image. N is the number of images that went
    through the encoder: B, or B * T of sequences, in the order of the batch. Where the images that
    the layer sees are all missing (NaN), N is 0. The maps cover the prepared images. Frozen
    encoders work too, as gradients reach the layer from the image. Source: see the module.
    """
    activations: list[Tensor] = []  # (n, C, h, w) each

    def keep_activation(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if output.is_leaf:
            output.requires_grad_(True)
        else:
            output.retain_grad()
        activations.append(output)

    hook = network.cam_layer.register_forward_hook(keep_activation)
    try:
        with torch.enable_grad():
            image = batch["image"].detach().clone().requires_grad_(True)
            logits = network({**batch, "image": image})
            scores = logits.amax(1) if target is None else logits[:, target]
            gradients = torch.autograd.grad(scores.sum(), activations) if activations else ()
    finally:
        hook.remove()
    if not activations:
        return logits.detach(), torch.zeros(0, 1, 1)
    maps = []
    for gradient, activation in zip(gradients, activations, strict=True):
        weights = gradient.mean((2, 3), keepdim=True)  # (n, C, 1, 1)
        maps.append(torch.relu((weights * activation.detach()).sum(1)))  # (n, h, w)
    return logits.detach(), torch.cat(maps)
