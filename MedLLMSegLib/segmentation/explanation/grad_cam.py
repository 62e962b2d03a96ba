"""Grad-CAM for segmentation: which places of an image the logits of one region come from.

The features of a coarse layer, weighed by the gradient of the region's mean logit, and summed over
the channels. Two ways to weigh them:

"channel": each channel by its mean gradient over all places (Vinogradova et al., Towards
Interpretable Semantic Segmentation via Gradient-Weighted Class Activation Mapping, AAAI 2020;
"Seg-Grad-CAM"). It forgets where in the image a feature mattered for this region.
"place": each feature by its own gradient (Hasany et al., Seg-XRes-CAM: Explaining Spatially Local
Regions in Image Segmentation, CVPR workshops 2023, with a pooling window of one place, which is
HiResCAM of a region).

What is differentiated is the structure's logit, or its margin: the logit less the logarithm of the
summed exponentials of all other classes. Softmax sees differences alone, so a logit may rise with
all others and mean nothing; the margin cannot.

The sums of several windows add up to that of the whole, as the logit of a voxel is a weighted sum
of what the windows that hold it say. So negative evidence is cut off at the very end alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MedLLMSegLib.core.geometry import Box
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.networks.segmentation.feature_layers import feature_layers, features_seen
from MedLLMSegLib.registry.config_checks import require_choice
from MedLLMSegLib.segmentation.layer_progress import layer_progress
from MedLLMSegLib.segmentation.precision import MakesSlabs

WAYS = ("place", "channel")
SCORES = ("margin", "logit")


@dataclass(frozen=True)
class CamSettings:
    """How evidence is read off a network. layer: see `feature_layers`. way: one of `WAYS`. score:
    one of `SCORES`.
    """

    layer: str
    way: str = "place"
    score: str = "margin"

    def __post_init__(self) -> None:
        require_choice(self, "way", *WAYS)
        require_choice(self, "score", *SCORES)


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of a network.

    counts: output -> float32 (k, j, i), how much its logit counts at each voxel. rivals: outputs of
    the classes that a margin is over.
    """

    counts: Mapping[int, Tensor]
    rivals: tuple[int, ...] = ()

    def part(self, box: Box, share: Tensor) -> Question:
        """Of a window: its voxels count by the share (k, j, i) that it has of each."""
        return Question({n: counts[box] * share for n, counts in self.counts.items()}, self.rivals)

    def to(self, device: torch.device) -> Question:
        """The same on a device."""
        return Question({n: each.to(device) for n, each in self.counts.items()}, self.rivals)

    @property
    def asks_something(self) -> bool:
        """Whether any logit counts."""
        return any(bool(counts.any()) for counts in self.counts.values())


def window_evidence(
    network: nn.Module,
    image: Tensor,
    question: Question,
    settings: CamSettings,
    progress: Progress,
) -> Tensor:
    """Evidence for and against a region, float32 (k, j, i) on the voxels of one window.

    image: (1, 1, k, j, i). The features before the layer need no memory for the gradient, and
    logits are made slab by slab, so a whole head takes little more than to be outlined. Above 0 is
    evidence for the region.
    """
    layer = feature_layers(network)[settings.layer]
    seen: list[Tensor] = []

    def hold(features: Tensor) -> Tensor:
        seen.append(features.detach().requires_grad_())
        return seen[-1]

    forward, backward = progress.part(0.0, 0.5), progress.part(0.5, 1.0)
    with _no_weight_gradients(network), features_seen(layer, hold), torch.enable_grad():
        with layer_progress(network, lambda done: forward("explain", done)):
            score = _score(network, image, question, settings.score == "margin")
        backward("explain", 0.0)
        (gradient,) = torch.autograd.grad(score, seen)
    features = seen[0].detach()  # (1, C, a, b, c)
    if settings.way == "channel":
        gradient = gradient.mean((2, 3, 4), keepdim=True)
    places = (gradient * features).sum(1, keepdim=True).float()  # (1, 1, a, b, c)
    return _on_voxels(places, _shape(image), getattr(network, "patch", (1, 1, 1)))


def _score(network: nn.Module, image: Tensor, question: Question, over_rivals: bool) -> Tensor:
    """The sum of the logits that count, or of their margins over their rivals."""
    slabs = network.logit_slabs(image) if isinstance(network, MakesSlabs) else [network(image)]
    score = image.new_zeros(())
    first = 0
    for slab in slabs:  # (1, outputs, planes, j, i)
        planes = slice(first, first + slab.shape[2])
        for output, weights in question.counts.items():
            k, j, i = torch.nonzero(weights[planes], as_tuple=True)
            if len(k):
                values = slab[0][:, k, j, i]  # (outputs, n)
                margin = values[output]
                if over_rivals:
                    margin = margin - values[list(question.rivals)].logsumexp(0)
                score = score + (margin * weights[planes][k, j, i]).sum()
        first = planes.stop
    return score


def _on_voxels(places: Tensor, shape: Triple, patch: Triple) -> Tensor:
    """(1, 1, a, b, c) over the padded window -> (k, j, i) on the window's voxels."""
    padded = [-(-n // p) * p for n, p in zip(shape, patch, strict=True)]
    k, j, i = shape
    return F.interpolate(places, size=padded, mode="trilinear", align_corners=False)[
        0, 0, :k, :j, :i
    ]


def _shape(image: Tensor) -> Triple:
    k, j, i = image.shape[2:]
    return k, j, i


@contextmanager
def _no_weight_gradients(network: nn.Module) -> Iterator[None]:
    """Within the block no weight needs a gradient, so nothing is kept for one."""
    needing = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in needing:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in needing:
            weight.requires_grad_(True)
