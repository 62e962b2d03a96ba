"""What a user asks of a classifier's training, and the network that it means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.data.image_table import ClassSet
from MedLLMSegLib.registry.classifier_config import (
    WITH_LLM,
    ClassifierConfig,
    EncoderConfig,
    PneumoLLMConfig,
)
from MedLLMSegLib.registry.network_config import LLMConfig

from .prepared_images import plan_record

KINDS = (
    "pneumollm",
    "linear",
    "mlp",
    "text",
    "fusion",
)  # of flat images; sequences have a command of their own


MINUTES = 30.0


@dataclass(frozen=True)
class ClassifyRequest:
    """What a user asks for.

    source: a CSV table of images, or a folder with labels.csv (`table.read_classes`). output: the
    run's folder. classes: their names in order, None as found. kind: of `KINDS`. encoder: "cnn",
    "vit", "efficientnet-lite0", or the folder of a timm or Hugging Face CLIP/ViT model.
    train_encoder: fine-tune a pretrained one ("cnn" and "vit" always are trained). llm, llm_layers:
    which language model and layers; () for none. tokens: diagnosis tokens. random_llm: the control,
    with random weights of equal norms. minutes or epochs: how long. record, channels: columns of
    the table that a "fusion" reads beside the image: fields of the patient's record, and the paths
    of further images of the patient on the same pixels (a CT beside a PET), where an empty cell is
    a missing one. modality: in words, for the card; "" for "X-ray", or with channels for what the
    images' tags say.
    """

    source: str
    output: str
    name: str = ""
    title: str = ""
    modality: str = ""
    licence: str = ""
    data: str = ""
    classes: tuple[str, ...] = ()
    kind: str = "pneumollm"
    encoder: str = "efficientnet-lite0"
    train_encoder: bool = False
    llm: str = "smollm2-135m"
    llm_layers: tuple[int, ...] = (26, 27, 28, 29)
    tokens: int = 4
    random_llm: bool = False
    record: tuple[str, ...] = ()
    size: int = 224
    minutes: float | None = None
    epochs: int | None = None
    batch: int = 16
    lr: float = 3e-4
    seed: int = 0
    channels: tuple[str, ...] = ()

    def __post_init__(self):
        if self.minutes is not None and self.epochs is not None:
            raise UserError("--minutes and --epochs both say how long to train; give one of them.")
        for name in ("minutes", "epochs", "batch", "lr", "size"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UserError(f"--{name} is {getattr(self, name)}, and must be above 0.")
        if self.kind not in KINDS:
            raise UserError(
                f'"{self.kind}" is not a kind of classifier of images; use one of'
                f" {', '.join(KINDS)}."
            )
        extra = "--record" if self.record else "--channels" if self.channels else ""
        if self.kind == "fusion" and not extra:
            raise UserError(
                "--kind fusion reads more than one image of a patient; name the table's columns"
                " with --record (fields) or --channels (further images)."
            )
        if self.kind != "fusion" and extra:
            raise UserError(
                f"{extra} names what --kind fusion reads besides the image, and the kind is"
                f" {self.kind}; give both or neither."
            )
        if both := set(self.record) & set(self.channels):
            raise UserError(
                f'"{sorted(both)[0]}" is named by --record and by --channels; leave it out of one'
                " of them."
            )


def classifier_config(request: ClassifyRequest, class_set: ClassSet, train) -> ClassifierConfig:
    """The network that a request asks for; a record's fields are looked up in the training
    cases.
    """
    known = request.encoder in ("cnn", "vit", "efficientnet-lite0")
    if not known and not Path(request.encoder).expanduser().is_dir():
        raise UserError(
            f'The encoder "{request.encoder}" is neither cnn, vit, efficientnet-lite0 nor a folder;'
            " give the folder of a timm or Hugging Face model (config.json and model.safetensors)."
        )
    frozen = request.encoder not in ("cnn", "vit") and not request.train_encoder
    encoder = EncoderConfig(
        request.encoder if known else "folder",
        "" if known else str(Path(request.encoder).expanduser()),
        image_size=request.size,
        channels=1 + len(request.channels),
        frozen=frozen,
    )
    part = None
    if request.kind in WITH_LLM:
        llm = (
            LLMConfig(request.llm, request.llm_layers, rotary=True) if request.llm_layers else None
        )
        part = PneumoLLMConfig(
            request.tokens, llm=llm, llm_weights="random" if request.random_llm else "pretrained"
        )
    record = plan_record(train, request.record) if request.record else None
    return ClassifierConfig(request.kind, class_set.classes, encoder, part, record)


def with_defaults(request: ClassifyRequest) -> ClassifyRequest:
    """The request with the names as the table has them, and the usual modality."""
    return replace(
        request,
        channels=tuple(name.strip().lower() for name in request.channels),
        modality=request.modality or ("" if request.channels else "X-ray"),
    )
