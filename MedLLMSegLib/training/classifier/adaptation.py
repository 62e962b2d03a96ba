"""A classifier made to fit another domain, without its old one being lost: two ways, and one guard.

Without labels: the scales and shifts of the norm layers behind the encoder are moved so that the
answers become surer (TENT, Wang et al. 2021), by sharpness-aware steps and only on images that are
sure enough already (SAR, Niu et al. 2023). With labels: the last layer is fitted to them, and is
held to what it was by a penalty, as labels are few.

Both work on the tokens of the encoder, which stays as it is: they are made once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.llm.block import RMSNorm
from MedLLMSegLib.networks.classification.classifier import Classifier

NORMS = (nn.LayerNorm, nn.BatchNorm1d, nn.GroupNorm, RMSNorm)
KEPT = ("encoder.", "llm.layers.")  # frozen, or stored in no bundle


@dataclass(frozen=True)
class NormsConfig:
    """epochs: over all images. rate: of the steps. radius: of the sharpness-aware step. gate: an
    image counts while its entropy is below this share of the highest possible. collapse: where the
    mean entropy falls below this share, the network is sure of everything, and all is undone; also
    where more than `one_class` of the images get one answer that fewer got before.
    """

    epochs: int = 10
    batch: int = 20
    rate: float = 1e-3
    radius: float = 0.05
    gate: float = 0.8
    collapse: float = 0.1
    one_class: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class HeadConfig:
    """penalty: on the squared change of the last layer, per labelled image."""

    penalty: float = 0.01


@dataclass(frozen=True)
class Guard:
    """What the old domain may lose.

    score: network -> AUC on the old domain's validation images. most: the loss of AUC beyond which
    an adaptation is undone.
    """

    score: Callable[[Classifier], float]
    most: float = 0.01


@dataclass(frozen=True, eq=False)
class Adapted:
    """network: the adapted one; a copy of the old one where all was undone. undone: why, as a part
    of a sentence; "" where the adaptation stands. before, after: the guard's score with the old
    network, and with the adapted one before it may have been undone. used: images that counted.
    """

    network: Classifier
    undone: str
    before: float
    after: float
    used: int


def adapt_norms(
    network: Classifier, tokens: Tensor, guard: Guard, config: NormsConfig = NormsConfig()
) -> Adapted:
    """Without labels. tokens: (N, S, width) of the other domain's images.

    The network that is handed in stays as it is. Raises `ValueError` for one without norm layers
    behind its encoder.
    """
    adapted = deepcopy(network).eval()
    weights = list(norm_weights(adapted))
    if not weights:
        raise ValueError("the network has no norm layer behind its encoder")
    adapted.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    highest = math.log(len(network.config.classes))
    answers = _answers(adapted, tokens)
    generator = torch.Generator().manual_seed(config.seed)
    used: set[int] = set()
    collapsed = ""
    for _ in range(config.epochs):
        for chosen in torch.randperm(len(tokens), generator=generator).split(config.batch):
            used |= _sar_step(adapted, weights, tokens[chosen], chosen, highest, config)
        collapsed = _collapse(adapted, tokens, answers, highest, config)
        if collapsed:
            break
    if not used:
        collapsed = "no image was sure enough to learn from"
    return _guarded(network, adapted, guard, collapsed, len(used))


def adapt_head(
    network: Classifier,
    tokens: Tensor,
    target: Tensor,
    guard: Guard,
    config: HeadConfig = HeadConfig(),
) -> Adapted:
    """With labels. tokens: (N, S, width); target: (N,) of int64, of which each class is needed.

    The features are scaled by their spread over these images, so that the penalty is alike for all.
    Each class counts as much as any other.
    """
    adapted = deepcopy(network).eval()
    with torch.no_grad():
        features = adapted.summarise(tokens.float(), {})  # (N, F)
    counts = torch.bincount(target, minlength=len(network.config.classes))
    if bool((counts == 0).any()):
        raise ValueError("a class without a labelled image")
    spread = features.std(0, correction=0).clamp_min(1e-6)
    change = torch.zeros_like(adapted.head.weight, requires_grad=True)  # (classes, F), scaled
    shift = torch.zeros_like(adapted.head.bias, requires_grad=True)
    with torch.no_grad():
        old_logits = adapted.head(features)
    scaled, balance = features / spread, len(target) / (len(counts) * counts.float())
    optimiser = torch.optim.LBFGS([change, shift], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = old_logits + scaled @ change.T + shift
        value = F.cross_entropy(logits, target, weight=balance)
        value = value + config.penalty * (change.square().sum() + shift.square().sum())
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        adapted.head.weight.add_(change / spread)
        adapted.head.bias.add_(shift)
    return _guarded(network, adapted, guard, "", len(target))


def norm_weights(network: Classifier) -> Iterator[nn.Parameter]:
    """The scales and shifts of the norm layers that a bundle stores, behind the encoder."""
    for name, module in network.named_modules():
        if isinstance(module, NORMS) and not any(part in f"{name}." for part in KEPT):
            yield from module.parameters(recurse=False)


def _sar_step(
    network: Classifier,
    weights: list[nn.Parameter],
    tokens: Tensor,
    numbers: Tensor,
    highest: float,
    config: NormsConfig,
) -> set[int]:
    """One step on a batch; returns the images that counted. Two passes: up to where the entropy is
    highest within the radius, and down from there.
    """
    limit = config.gate * highest
    entropy = _entropy(network, tokens)
    sure = entropy < limit
    if not bool(sure.any()):
        return set()
    first = torch.autograd.grad(entropy[sure].mean(), weights)
    length = torch.stack([gradient.norm() for gradient in first]).norm().clamp_min(1e-12)
    steps = [config.radius * gradient / length for gradient in first]
    with torch.no_grad():
        for weight, step in zip(weights, steps, strict=True):
            weight.add_(step)
    climbed = _entropy(network, tokens[sure])
    still_sure = climbed < limit
    gradients = torch.autograd.grad(
        climbed[still_sure].sum() / max(1, int(still_sure.sum())), weights
    )
    with torch.no_grad():
        for weight, step, gradient in zip(weights, steps, gradients, strict=True):
            weight.sub_(step + config.rate * gradient)
    return {int(number) for number in numbers[sure]}


def _entropy(network: Classifier, tokens: Tensor) -> Tensor:
    """(N,) of the answers, in nats."""
    logits = network.classify(tokens.float(), {})
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


@torch.no_grad()
def _answers(network: Classifier, tokens: Tensor) -> Tensor:
    return network.classify(tokens.float(), {}).argmax(1)


@torch.no_grad()
def _collapse(
    network: Classifier, tokens: Tensor, before: Tensor, highest: float, config: NormsConfig
) -> str:
    """Why the adaptation has collapsed, as a part of a sentence; "" where it has not."""
    if not all(bool(torch.isfinite(weight).all()) for weight in norm_weights(network)):
        return "the weights are no numbers any more"
    entropy = float(_entropy(network, tokens).mean())
    if entropy < config.collapse * highest:
        return f"the network became sure of everything (mean entropy {entropy:.3f})"
    classes = len(network.config.classes)
    now, was = (
        float(torch.bincount(each, minlength=classes).max()) / len(tokens)
        for each in (_answers(network, tokens), before)
    )
    if now > config.one_class and now > was:
        return f"{100 * now:.0f} % of the images get one answer, and {100 * was:.0f} % did before"
    return ""


def _guarded(
    network: Classifier, adapted: Classifier, guard: Guard, undone: str, used: int
) -> Adapted:
    """The adapted network, or a copy of the old one where it collapsed or lost too much."""
    adapted.requires_grad_(False)
    before = guard.score(network)
    after = guard.score(adapted)
    lost = before - after
    if not undone and not lost <= guard.most:
        undone = (
            f"the AUC on the old domain's validation images fell from {before:.3f} to"
            f" {after:.3f}, and {guard.most:g} is allowed"
        )
    kept = deepcopy(network).eval() if undone else adapted
    return Adapted(kept, undone, before, after, used)
