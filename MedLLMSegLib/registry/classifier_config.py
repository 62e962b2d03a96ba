"""The configuration of a classifier: frozen dataclasses that check themselves and round-trip
through JSON (no torch).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

from MedLLMSegLib.core.errors import UserError, in_short
from MedLLMSegLib.core.types import Json

from .config_checks import (
    config_from_json,
    json_object,
    require_choice,
    require_fraction,
    require_positive,
)
from .network_config import LLMConfig

ENCODERS = ("cnn", "vit", "efficientnet-lite0", "folder")
KINDS = ("pneumollm", "linear", "mlp", "text", "cnn-lstm", "fusion")
WITH_LLM = ("pneumollm", "text")
ROTARY_LLM = LLMConfig(rotary=True)


@dataclass(frozen=True)
class PreparationConfig:
    """From a radiograph to the network's input: one channel, square.

    size: of the square, in pixels.
    crop: "lungs" (the rectangle around a lung mask; without a mask, the whole image) or "none".
    margin: added around that rectangle on each side, as a fraction of its size.
    normalise: "image" (mean 0 and standard deviation 1 over each image, without its padding) or
    "fixed" ((x - mean) / std, with x from 0 to 1 over the window).
    """

    size: int = 224
    crop: str = "lungs"
    margin: float = 0.05
    normalise: str = "image"
    mean: float = 0.5
    std: float = 0.25

    def __post_init__(self) -> None:
        require_choice(self, "crop", "lungs", "none")
        require_choice(self, "normalise", "image", "fixed")
        require_positive(self, "size", "std")
        if self.margin < 0:
            raise UserError(f"PreparationConfig.margin is {self.margin!r}, and must be 0 or more.")

    def to_dict(self) -> Json:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> PreparationConfig:
        return config_from_json(cls, data)


@dataclass(frozen=True)
class EncoderConfig:
    """The encoder, from an image to source tokens, one for each of several depths.

    kind: "cnn" and "vit" (small, trained here), "efficientnet-lite0" (ImageNet's weights) or
    "folder" (of timm, or of a Hugging Face CLIP or ViT: config.json and model.safetensors).
    path: of the "folder".
    architecture: the text of that folder's config.json, from which the network is built without
    the folder. `build_classifier` fills it in, so that a bundle needs no folder.
    image_size: pixels along each side of the image.
    channels: of the image. An encoder of colour images repeats a grey one.
    width: of a source token in the classifier, and of the layers of "vit".
    depths: stages of a CNN or layers of a ViT, from 1, whose features become source tokens; () for
    the usual ones.
    frozen: nothing of the encoder is trained, and its tokens may be cached between epochs.
    """

    kind: str = "cnn"
    path: str = ""
    architecture: str = ""
    image_size: int = 224
    channels: int = 1
    width: int = 128
    depths: tuple[int, ...] = ()
    frozen: bool = False

    def __post_init__(self) -> None:
        require_choice(self, "kind", *ENCODERS)
        require_positive(self, "image_size", "channels", "width")
        if self.kind == "folder" and not (self.path or self.architecture):
            raise UserError(
                'An encoder of kind "folder" has no path; give the folder that holds its'
                " config.json."
            )
        if any(d < 1 for d in self.depths) or list(self.depths) != sorted(set(self.depths)):
            raise UserError(
                f"EncoderConfig.depths is {self.depths!r}; rising whole numbers from 1 are needed."
            )

    def to_dict(self) -> Json:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> EncoderConfig:
        return config_from_json(cls, data)


@dataclass(frozen=True)
class PneumoLLMConfig:
    """From source tokens to the answer (PneumoLLM, arXiv 2312.03490). Every part can be left out.

    tokens: the number of diagnosis tokens (K).
    token_engine: makes them from the source tokens; without it they are learned constants.
    engine_hidden: width of the engine's hidden layer.
    emitter: diagnosis tokens are never attention keys; without it every token sees every other.
    adapters: trained modules before each layer's attention.
    adapter_width: their hidden channels.
    projector_width: hidden width of the projector to the language model.
    dropout: in the adapters.
    llm: the frozen layers, or None for no language model. Its `position`, `normalise` and
    `training_only` are not used here.
    llm_weights: "pretrained" or "random" (values drawn anew, with each tensor's pretrained norm).
    llm_seed: of the random weights.
    """

    tokens: int = 4
    token_engine: bool = True
    engine_hidden: int = 12
    emitter: bool = True
    adapters: bool = True
    adapter_width: int = 8
    projector_width: int = 128
    dropout: float = 0.1
    llm: LLMConfig | None = ROTARY_LLM
    llm_weights: str = "pretrained"
    llm_seed: int = 0

    def __post_init__(self) -> None:
        require_choice(self, "llm_weights", "pretrained", "random")
        require_positive(self, "tokens", "engine_hidden", "adapter_width", "projector_width")
        require_fraction(self, "dropout")
        if self.adapter_width % 2:
            raise UserError(
                f"PneumoLLMConfig.adapter_width is {self.adapter_width}, and must be even (two"
                " groups)."
            )
        if self.llm is not None and not self.llm.frozen:
            raise UserError(
                "PneumoLLMConfig.llm.frozen is off, and its language model is always frozen; leave"
                " it on."
            )

    def to_dict(self) -> Json:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> PneumoLLMConfig:
        data = json_object(data, cls.__name__)
        if data.get("llm") is not None:
            data["llm"] = config_from_json(LLMConfig, data["llm"])
        return config_from_json(cls, data)


@dataclass(frozen=True)
class RecordConfig:
    """Fields of a patient's record that go with the image.

    numbers: names, in the order of ``batch["numbers"]``.
    means, stds: of each number over the training cases, to scale it by; () for 0 and 1.
    categories: the values of each name, in the order of ``batch["categories"]``, which holds a
    value's place in its tuple.
    """

    numbers: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.numbers and not self.categories:
            raise UserError(
                "RecordConfig has neither numbers nor categories; name at least one field, or use"
                " record=None."
            )
        for name in ("means", "stds"):
            values = getattr(self, name)
            fits = len(values) in (0, len(self.numbers))
            if not fits or not all(map(math.isfinite, values)):
                raise UserError(
                    f"RecordConfig.{name} is {values!r}, and one number for each of"
                    f" {self.numbers!r} is needed."
                )
        if any(not s > 0 for s in self.stds):
            raise UserError(
                f"RecordConfig.stds is {self.stds!r}, and each must be above 0; leave out a field"
                " that never varies."
            )
        for name, values in self.categories.items():
            if not values or len(set(values)) != len(values):
                raise UserError(
                    f"RecordConfig.categories[{name!r}] is {values!r}; different values are needed,"
                    " at least one."
                )

    def to_dict(self) -> Json:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> RecordConfig:
        data = json_object(data, "the record")
        categories = json_object(data.get("categories", {}), "the record's categories")
        if not all(isinstance(values, list | tuple) for values in categories.values()):
            raise UserError(
                f"RecordConfig.categories are {in_short(repr(categories))}, and a list of values"
                " for each name is needed."
            )
        data["categories"] = {name: tuple(values) for name, values in categories.items()}
        return config_from_json(cls, data)


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier of images, of sequences of images, or of images and a record; its classes are
    exclusive.

    kind: "pneumollm";
    "linear" (a linear probe: one linear layer on the source tokens, each channel standardised);
    "mlp" (the mean of the source tokens, and an MLP);
    "text" (PneumoLLM with its text branch: a prompt's tokens before the image's, and the language
    model's own logits for "yes" and "no"; two classes, the second is "yes");
    "cnn-lstm" (sequences of images);
    "fusion" (image channels and a record, fused late).
    classes: their names, in the order of the logits.
    pneumollm: needed by "pneumollm" and "text".
    record: of "fusion", or None for image channels only.
    hidden: width of the MLP, of the LSTM, and of the fused features.
    dropout: before the last layer of "mlp", "cnn-lstm" and "fusion".
    bidirectional: of the LSTM.
    modality_dropout: the probability with which "fusion" leaves out a channel or a field in
    training.
    """

    kind: str = "pneumollm"
    classes: tuple[str, ...] = ("no finding", "pneumonia")
    encoder: EncoderConfig = EncoderConfig()
    pneumollm: PneumoLLMConfig | None = None
    record: RecordConfig | None = None
    hidden: int = 128
    dropout: float = 0.1
    bidirectional: bool = True
    modality_dropout: float = 0.2

    def __post_init__(self) -> None:
        require_choice(self, "kind", *KINDS)
        require_positive(self, "hidden")
        require_fraction(self, "dropout", "modality_dropout")
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise UserError(
                f"ClassifierConfig.classes is {self.classes!r}; at least two different names are"
                " needed."
            )
        needs_part = self.kind in WITH_LLM
        if needs_part != (self.pneumollm is not None):
            raise UserError(
                f"A classifier of kind {self.kind!r}"
                f" {'needs' if needs_part else 'has no use for'} a PneumoLLMConfig;"
                " change the kind or ClassifierConfig.pneumollm."
            )
        if self.record is not None and self.kind != "fusion":
            raise UserError(
                f'A classifier of kind {self.kind!r} reads no record; use kind="fusion" or'
                " record=None."
            )
        has_llm = self.pneumollm is not None and self.pneumollm.llm is not None
        if self.kind == "text" and (len(self.classes) != 2 or not has_llm):
            raise UserError(
                'A classifier of kind "text" answers yes or no with a language model: it needs two'
                " classes and PneumoLLMConfig.llm."
            )

    @property
    def llm_part(self) -> PneumoLLMConfig:
        """`pneumollm` of a kind that has one. Raises `ValueError` for any other kind."""
        if self.pneumollm is None:
            raise ValueError(f"a classifier of kind {self.kind!r} has no PneumoLLMConfig")
        return self.pneumollm

    def to_dict(self) -> Json:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Json) -> ClassifierConfig:
        data = json_object(data, cls.__name__)
        for name, part in (
            ("encoder", EncoderConfig),
            ("pneumollm", PneumoLLMConfig),
            ("record", RecordConfig),
        ):
            if data.get(name) is not None:
                data[name] = part.from_dict(data[name])
        return config_from_json(cls, data)
