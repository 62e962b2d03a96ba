"""`train_classifier`: a table of labelled images in, a classifier's bundle out. The public
function of this training.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import check_writable, make_folder
from MedLLMSegLib.data import split_cases
from MedLLMSegLib.data.image_table import ClassSet, read_classes
from MedLLMSegLib.diagnosis.classifier_description import NOT_STATED, ClassifierDescription
from MedLLMSegLib.diagnosis.input_checks import MODALITY_NAMES, typical_image
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.networks.cost import measure_cost
from MedLLMSegLib.registry.classifier_config import (
    WITH_LLM,
    ClassifierConfig,
    EncoderConfig,
    PneumoLLMConfig,
    PreparationConfig,
)
from MedLLMSegLib.registry.network_config import LLMConfig
from MedLLMSegLib.reporting.classification_plots import draw_history
from MedLLMSegLib.segmentation.inference import choose_device
from MedLLMSegLib.training.checkpoint import plan_to_resume

from .classifier_loop import ClassifierTrainer, LoopConfig, epochs_for
from .examples import Examples, TokenStore
from .export_classifier import export_classifier
from .prepared_images import MASK_COLUMN, channels_input, image_examples, plan_record, record_fields

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
                f'"{self.kind}" is no kind of classifier of images; use one of {", ".join(KINDS)}.'
            )
        beside = "--record" if self.record else "--channels" if self.channels else ""
        if self.kind == "fusion" and not beside:
            raise UserError(
                "--kind fusion reads more than one image of a patient; name the table's columns"
                " with --record (fields) or --channels (further images)."
            )
        if self.kind != "fusion" and beside:
            raise UserError(
                f"{beside} names what --kind fusion reads beside the image, and the kind is"
                f" {self.kind}; give both or neither."
            )
        if both := set(self.record) & set(self.channels):
            raise UserError(
                f'"{sorted(both)[0]}" is named by --record and by --channels; leave it out of one'
                " of them."
            )


def train_classifier(
    request: ClassifyRequest, device: str = "auto", progress: Report | None = None, say=print
) -> Path:
    """Train, or go on with, what ``request`` asks for and return the folder of the finished bundle.

    progress: called with (a line of text, fraction done); may raise `Cancelled`, after which the
    same call goes on. say: takes lines about the data and the network. Raises `UserError` for a
    table that cannot be trained on.
    """
    check_writable(request.output)
    output, report = make_folder(request.output), progress or (lambda text, fraction: None)
    torch_device = choose_device(device)
    request = _with_usual(request)
    class_set = read_classes(request.source, request.classes or None, request.channels)
    before, cases = plan_to_resume(output, request), split_cases(class_set, request.seed)
    config = classifier_config(request, class_set, cases["train"])
    preparation, shown = PreparationConfig(size=request.size), _input(request, cases["train"])
    say(_data_line(class_set, cases, shown))
    train, val = (
        _examples(cases[part], config, preparation, shown, report) for part in ("train", "val")
    )
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)
        network = build_classifier(config).to(torch_device)
    say(_network_line(network, train.batch(torch.arange(min(2, len(train))), torch_device)))
    loop = (
        LoopConfig.from_dict(before["loop"])
        if before
        else LoopConfig(request.epochs or 1, request.batch, request.lr, seed=request.seed)
    )
    store = TokenStore(output / "tokens")
    about = {
        "request": asdict(request),
        "network": config.to_dict(),
        "preparation": preparation.to_dict(),
        "cases": {name: [c.id for c in each] for name, each in cases.items()},
    }
    tokens = [
        _tokens(store, network, part, loop, torch_device, report, name)
        for name, part in (("train", train), ("val", val))
    ]
    make = lambda loop: ClassifierTrainer(
        network,
        loop,
        train,
        val,
        output,
        json.loads(json.dumps(about)),
        tokens[0],
        None if tokens[1] is None else tokens[1][0],
        torch_device,
    )
    if before is None and request.epochs is None:
        loop = replace(
            loop, epochs=epochs_for(request.minutes or MINUTES, make(loop).seconds_per_epoch())
        )
    trainer = make(loop)
    trained = trainer.run(report)
    draw_history(trainer.state.history, output / "curve.png", request.name or output.name)
    say(f"best epoch {trained.best_epoch} of {trained.epochs}, AUC {trained.best_auc:.3f} on val")
    told = _about(
        replace(request, name=request.name or output.name),
        shown,
        config,
        loop,
        trained.best_epoch,
        train,
    )
    return export_classifier(output / "bundle", network, val, preparation, told, torch_device)


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


def _with_usual(request: ClassifyRequest) -> ClassifyRequest:
    """The request with the names as the table has them, and the usual modality."""
    return replace(
        request,
        channels=tuple(name.strip().lower() for name in request.channels),
        modality=request.modality or ("" if request.channels else "X-ray"),
    )


def _input(request: ClassifyRequest, train) -> InputConfig:
    """What the network will be shown. train: the training cases."""
    masks = any(case.columns.get(MASK_COLUMN) for case in train)
    if request.channels:
        return channels_input(train, request.channels, masks)
    any_image = InputConfig(modalities=(), body_part="", views=())
    return replace(InputConfig() if request.modality == "X-ray" else any_image, lungs=masks)


def _examples(
    cases,
    config: ClassifierConfig,
    preparation: PreparationConfig,
    shown: InputConfig,
    report: Report,
) -> Examples:
    found = image_examples(cases, preparation, lambda text, fraction: report(text, 0.0), shown)
    return (
        replace(found, fields={**found.fields, **record_fields(cases, config.record)})
        if config.record
        else found
    )


def _tokens(
    store: TokenStore,
    network: Classifier,
    part: Examples,
    loop: LoopConfig,
    device,
    report: Report,
    name: str,
):
    if not network.config.encoder.frozen:
        return None
    views, how = (loop.views, loop.augmentation) if name == "train" else (1, None)
    return store.get(network, part, views, how, device, lambda text, fraction: report(text, 0.0))


def _about(
    request: ClassifyRequest,
    shown: InputConfig,
    config: ClassifierConfig,
    loop: LoopConfig,
    epoch: int,
    train: Examples,
) -> ClassifierDescription:
    """What the bundle says of itself."""
    images = train.fields["image"][:, 0].float().numpy()
    there = images[~np.isnan(images).any((1, 2))]
    modality = request.modality or _modality(shown)
    return ClassifierDescription(
        request.name,
        request.title or f"{config.classes[-1].replace('_', ' ')} in {modality}",
        modality,
        request.data or "not stated",
        request.licence or NOT_STATED,
        shown,
        chosen={"epoch": epoch, "trained_on": len(train)},
        training=json.loads(json.dumps(loop.to_dict())),
        typical=typical_image(there) if len(there) else None,
    )


def _modality(shown: InputConfig) -> str:
    """The modalities of all channels in words, such as "PET with CT"; a channel's name where its
    images state none.
    """
    parts = [
        dict.fromkeys(MODALITY_NAMES.get(code, code) for code in shown.of_channel(n).modalities)
        or [name]
        for n, name in enumerate(shown.names)
    ]
    return " with ".join(" or ".join(each) for each in parts)


def _data_line(class_set: ClassSet, cases, shown: InputConfig) -> str:
    parts = []
    for name, each in cases.items():
        counts = [
            f"{sum(c.target == n for c in each)} {label}"
            for n, label in enumerate(class_set.classes)
        ]
        missing = {
            channel: sum((c.image, *c.channels)[n] is None for c in each)
            for n, channel in enumerate(shown.names)
        }
        counts += [f"{count} without {channel}" for channel, count in missing.items() if count]
        parts.append(
            f"{name}: {len(each)} images of {len({c.group for c in each})} patients"
            f" ({', '.join(counts)})"
        )
    return "; ".join(parts)


def _network_line(network: Classifier, batch) -> str:
    """What the network is, and what one of the batch's images costs in time and memory."""
    config = network.config
    return (
        f"{config.kind}, encoder"
        f" {config.encoder.kind}{' (frozen)' if config.encoder.frozen else ''}:"
        f" {measure_cost(network, batch, repeats=2)}"
    )
