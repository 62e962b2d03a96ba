"""Every choice the library makes, as frozen dataclasses that check themselves and round-trip through JSON."""
from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

from .errors import UserError


def _choose(owner, name: str, *allowed) -> None:
    value = getattr(owner, name)
    if value not in allowed:
        raise UserError(f"{type(owner).__name__}.{name} is {value!r}, and one of {', '.join(map(repr, allowed))} is needed.")


def _positive(owner, *names: str) -> None:
    for name in names:
        if not getattr(owner, name) > 0:
            raise UserError(f"{type(owner).__name__}.{name} is {getattr(owner, name)!r}, and must be above 0.")


def _build(cls, data: dict):
    unknown = set(data) - {f.name for f in fields(cls)}
    if unknown:
        raise UserError(f"{cls.__name__} has no setting called {sorted(unknown)[0]!r}; "
                        "the file was written by a newer version, or its spelling is off.")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


@dataclass(frozen=True)
class LLMConfig:
    """The frozen language-model block.

    source: an id of `medllmseg llm list` or a path. layers: which of its layers, in order; negative counts from the end.
    position: before the encoder's blocks (head), between them (middle) or after them (tail).
    training_only: run the block in training and leave it out of inference (papers.md, arm I).
    frozen: no gradients and no optimiser state for its weights. normalise: RMS-normalise what leaves it.
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

    def __post_init__(self):
        _choose(self, "position", "head", "middle", "tail")
        if not self.layers:
            raise UserError("LLMConfig.layers is empty, and one layer at least is needed; use llm=None for no block.")


@dataclass(frozen=True)
class NetworkConfig:
    """MedVisionLlama and its baselines: which parts, how large.

    in_channels, classes: of the image and of the logits (background included).
    embedding: "patch" (one strided convolution) or "stem" (convolutions that halve the grid and keep skips).
    patch_size: voxels along each axis that become one token. width, depth, heads, mlp_ratio: of the transformer blocks.
    stem_channels: of the stem's stages at full, 1/2, 1/4 ... size; one for each halving (log2 of patch_size).
    position: "learned" (on `grid` tokens, interpolated to other sizes), "rotary" (3D) or "none".
    attention: "global" or "hybrid" (global and local, gated). fusion: combine features of several depths and scales.
    decoder: "linear" (one layer, as published) or "conv" (with the stem's skips).
    """

    in_channels: int = 1
    classes: int = 3
    embedding: str = "stem"
    patch_size: int = 8
    stem_channels: tuple[int, ...] = (16, 64, 96)
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
    llm: LLMConfig | None = LLMConfig()

    def __post_init__(self):
        _choose(self, "embedding", "patch", "stem")
        _choose(self, "position", "learned", "rotary", "none")
        _choose(self, "attention", "global", "hybrid")
        _choose(self, "decoder", "linear", "conv")
        _positive(self, "in_channels", "classes", "patch_size", "width", "depth", "heads", "mlp_ratio")
        if self.width % self.heads:
            raise UserError(f"NetworkConfig.width is {self.width}, and must be a multiple of heads ({self.heads}).")
        if self.position == "rotary" and (self.width // self.heads < 6 or self.width // self.heads % 2):
            raise UserError("Rotary position in 3D needs an even number of at least 6 channels a head; "
                            "use fewer heads or a wider network.")
        if self.embedding == "stem" and 2 ** len(self.stem_channels) != self.patch_size:
            raise UserError(f"NetworkConfig.stem_channels has {len(self.stem_channels)} stages, which make patches of "
                            f"{2 ** len(self.stem_channels)}, but patch_size is {self.patch_size}.")
        if self.decoder == "conv" and self.embedding != "stem":
            raise UserError('The "conv" decoder needs the skips of embedding="stem".')

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "NetworkConfig":
        data = dict(data)
        if data.get("llm") is not None:
            data["llm"] = _build(LLMConfig, data["llm"])
        return _build(cls, data)


# The three configurations of one class that papers.md compares.
OURS = NetworkConfig()
PAPER = NetworkConfig(embedding="patch", stem_channels=(), patch_size=8, width=64, depth=16, heads=4, mlp_ratio=4.0,
                      position="learned", grid=(16, 16, 16), attention="global", fusion=False, decoder="linear",
                      llm=LLMConfig(position="head", normalise=False))
PAPER_VIT = replace(PAPER, llm=None)
PRESETS = {"medvisionllama": OURS, "paper-medvisionllama": PAPER, "paper-vit": PAPER_VIT}
