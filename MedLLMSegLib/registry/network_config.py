"""The configuration of a segmentation network and of its language-model block: frozen dataclasses
that check themselves and round-trip through JSON (no torch).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import prod

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json, Triple

from .config_checks import config_from_json, json_object, require_choice, require_positive


@dataclass(frozen=True)
class LLMConfig:
    """The frozen language-model block.

    source: an id of `medllmseg llm list`, or a path.
    layers: numbers of its layers, in order; a negative one counts from the end.
    position: before the encoder's blocks ("head"), between them ("middle") or after them ("tail").
    training_only: the block runs in training, and inference leaves it out (arm I of
    docs/benchmark.md).
    frozen: its weights have no gradients and no optimiser state.
    normalise: RMS-normalise the block's output.
    rotary, causal: off, as image tokens have no reading order (as in the published code).
    """

    source: str = "smollm2-135m"
    layers: tuple[int, ...] = (29,)
    position: str = "tail"
    training_only: bool = False
    frozen: bool = True
    normalise: bool = True
    rotary: bool = False
    causal: bool = False

    def __post_init__(self) -> None:
        require_choice(self, "position", "head", "middle", "tail")
        if not self.layers:
            raise UserError(
                "LLMConfig.layers is empty, and at least one layer is needed; use llm=None for no"
                " block."
            )


@dataclass(frozen=True)
class NetworkConfig:
    """MedVisionLlama and its baselines: the parts of the network and their sizes.

    in_channels, classes: of the image and of the logits, background included.
    embedding: "patch" (one strided convolution) or "stem" (convolutions that halve the grid, whose
    features are skips).
    patch_size: of the "patch" embedding, voxels along each axis that become one token.
    stem_channels: of the stem's stages. The first works on the image's own grid, each further one
    on a halved grid.
    strides: (k, j, i) of the halving after each stage, 1 or 2 along each axis; the last one leads
    to the tokens. ((1, 2, 2), (2, 2, 2), (2, 2, 2)) suits slices about twice as thick as voxels are
    wide.
    width, depth, heads, mlp_ratio: of the transformer blocks.
    position: "learned" (on `grid` tokens, interpolated to other sizes), "rotary" (3D) or "none".
    attention: "global" or "hybrid" (global and local, gated).
    fusion: combine features of several depths and scales.
    decoder: "linear" (one layer, as published) or "conv" (with the stem's skips).
    deep_supervision: while training, the coarser stages of the "conv" decoder give logits too.
    norm: of the convolutions, "instance", or "image" (the same in mathematics, and faster on a
    CPU).
    fold: the stem takes blocks of fold x fold x fold voxels as one place each, and the last layer
    gives each voxel of a block its own logits.
    head: the last layer, "classes" or "queries" (one vector for each structure).
    sides: with "queries", one more logit, for right rather than left.
    llm: the language-model block, or None.
    """

    in_channels: int = 1
    classes: int = 3
    embedding: str = "stem"
    patch_size: int = 8
    stem_channels: tuple[int, ...] = (16, 64, 96)
    strides: tuple[Triple, ...] = ((2, 2, 2),) * 3
    width: int = 192
    depth: int = 4
    heads: int = 6
    mlp_ratio: float = 2.0
    position: str = "rotary"
    grid: tuple[int, ...] = (5, 7, 5)
    attention: str = "hybrid"
    fusion: bool = True
    decoder: str = "conv"
    dropout: float = 0.0
    deep_supervision: bool = False
    norm: str = "instance"
    fold: int = 1
    head: str = "classes"
    sides: bool = False
    llm: LLMConfig | None = LLMConfig()

    def __post_init__(self) -> None:
        require_choice(self, "embedding", "patch", "stem")
        require_choice(self, "position", "learned", "rotary", "none")
        require_choice(self, "attention", "global", "hybrid")
        require_choice(self, "decoder", "linear", "conv")
        require_choice(self, "norm", "instance", "image")
        require_choice(self, "head", "classes", "queries")
        require_positive(
            self, "in_channels", "classes", "patch_size", "width", "heads", "mlp_ratio", "fold"
        )
        if self.depth < (0 if self.head == "queries" else 1):
            raise UserError(f"NetworkConfig.depth is {self.depth!r}, and must be above 0.")
        if self.width % self.heads:
            raise UserError(
                f"NetworkConfig.width is {self.width}, and must be a multiple of heads"
                f" ({self.heads})."
            )
        head_dim = self.width // self.heads
        if self.position == "rotary" and (head_dim < 6 or head_dim % 2):
            raise UserError(
                "Rotary position in 3D needs an even number of at least 6 channels a head; "
                "use fewer heads or a wider network."
            )
        if self.embedding == "stem":
            self._check_stem()
        if self.decoder == "conv" and self.embedding != "stem":
            raise UserError('The "conv" decoder needs the skips of embedding="stem".')
        if self.deep_supervision and (self.decoder != "conv" or self.head == "queries"):
            raise UserError(
                'NetworkConfig.deep_supervision needs the stages of decoder="conv" and'
                ' head="classes".'
            )
        if (self.head == "queries" or self.fold > 1) and self.decoder != "conv":
            raise UserError('NetworkConfig.head "queries" and fold need decoder="conv".')
        if (self.fold > 1 or self.sides) and self.head != "queries":
            raise UserError('NetworkConfig.fold and sides need head="queries".')

    def _check_stem(self) -> None:
        if not self.stem_channels or len(self.stem_channels) != len(self.strides):
            raise UserError(
                f"NetworkConfig.stem_channels has {len(self.stem_channels)} stages and strides has "
                f"{len(self.strides)}, and one for each stage is needed."
            )
        for number, stride in enumerate(self.strides, start=1):
            # The last stage may lead to tokens on its own grid.
            halves = max(stride) == 2 or number == len(self.strides) > 1
            if len(stride) != 3 or not set(stride) <= {1, 2} or not halves:
                raise UserError(
                    f"NetworkConfig.strides has {stride!r}, and each needs to be 1 or 2 along k, j"
                    " and i, with at least one 2 in all but the last."
                )

    @property
    def patch(self) -> Triple:
        """Voxels (k, j, i) that become one token."""
        if self.embedding == "patch":
            return (self.patch_size,) * 3
        k, j, i = zip(*self.strides, strict=True)
        return self.fold * prod(k), self.fold * prod(j), self.fold * prod(i)

    @property
    def kernels(self) -> tuple[Triple, ...]:
        """Size (k, j, i) of the convolutions of each stage of the stem, and of the decoder's stage
        that joins it.

        Where the first halving spares k, the slices are thick: until k is halved, a stage looks at
        each slice by itself (as in nnU-Net, Isensee et al. 2021). The last stage always looks
        across slices.
        """
        stages = len(self.strides)
        spares_k = [stride[0] == 1 for stride in self.strides]
        in_plane = [all(spares_k[: max(n, 1)]) for n in range(stages - 1)] + [False]
        return tuple((1, 3, 3) if flat else (3, 3, 3) for flat in in_plane)

    def to_dict(self) -> Json:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> NetworkConfig:
        data = json_object(data, "the network")
        # Bundles of before there were strides: each stage halved all three axes.
        if "strides" not in data and isinstance(data.get("stem_channels"), list | tuple):
            data["strides"] = ((2, 2, 2),) * len(data["stem_channels"])
        if data.get("llm") is not None:
            data["llm"] = config_from_json(LLMConfig, data["llm"])
        return config_from_json(cls, data)


# Ours, MedVisionLlama as published (arXiv 2410.02458) and its ViT baseline, three configurations of
# one class; and a finer one, for models that ship: more channels on the image's own grid, and
# losses on the decoder's coarser stages too.
OURS = NetworkConfig()
FINE = NetworkConfig(stem_channels=(32, 64, 96), deep_supervision=True, dropout=0.1)
PAPER = NetworkConfig(
    embedding="patch",
    stem_channels=(),
    patch_size=8,
    width=64,
    depth=16,
    heads=4,
    mlp_ratio=4.0,
    position="learned",
    grid=(16, 16, 16),
    attention="global",
    fusion=False,
    decoder="linear",
    llm=LLMConfig(position="head", normalise=False),
)
PAPER_VIT = replace(PAPER, llm=None)
# The whole brain: features at 2 mm of images at 1 mm, tokens at 16 mm, 18 structures and sides.
BRAIN = NetworkConfig(
    classes=19,
    stem_channels=(24, 48, 72, 96),
    strides=((2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 1, 1)),
    width=144,
    norm="image",
    fold=2,
    head="queries",
    sides=True,
)
PRESETS = {
    "medvisionllama": OURS,
    "medvisionllama-fine": FINE,
    "paper-medvisionllama": PAPER,
    "paper-vit": PAPER_VIT,
}
