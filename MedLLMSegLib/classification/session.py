"""`train_classifier`: a table of labelled images in, a classifier's bundle out. The public function of this training."""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ..cases import split_cases
from ..config import LLMConfig
from ..diagnosis.about import NOT_STATED, About, InputConfig
from ..diagnosis.checks import typical_of
from ..diagnosis_config import WITH_LLM, ClassifierConfig, EncoderConfig, PneumoLLMConfig, PreparationConfig
from ..errors import Progress, UserError
from ..inference import choose_device
from ..networks.classifier import Classifier
from ..networks.classifiers import build_classifier
from ..networks.cost import measure_cost
from ..outputs import check_writable, make_folder
from ..training.checkpoint import begun
from .examples import Examples, TokenStore
from .export import export_classifier
from .loop import ClassifierTrainer, LoopConfig, epochs_for
from .pictures import draw_history
from .prepare import MASK_COLUMN, image_examples, plan_record, record_fields
from .table import ClassSet, read_classes

KINDS = ("pneumollm", "linear", "mlp", "text", "fusion")  # of flat images; sequences have a command of their own
MINUTES = 30.0


@dataclass(frozen=True)
class ClassifyRequest:
    """What a user asks for.

    source: a CSV table of images, or a folder with labels.csv (`table.read_classes`). output: the run's folder.
    classes: their names in order, None as found. kind: of `KINDS`. encoder: "cnn", "vit", "efficientnet-lite0", or the folder
    of a timm or Hugging Face CLIP/ViT model. train_encoder: fine-tune a pretrained one ("cnn" and "vit" always are trained).
    llm, llm_layers: which language model and layers; () for none. tokens: diagnosis tokens. random_llm: the control, with
    random weights of equal norms. record: columns of the table that a "fusion" reads. minutes or epochs: how long.
    """

    source: str
    output: str
    name: str = ""
    title: str = ""
    modality: str = "X-ray"
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

    def __post_init__(self):
        if self.minutes is not None and self.epochs is not None:
            raise UserError("--minutes and --epochs both say how long to train; give one of them.")
        for name in ("minutes", "epochs", "batch", "lr", "size"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UserError(f"--{name} is {getattr(self, name)}, and must be above 0.")
        if self.kind not in KINDS:
            raise UserError(f'"{self.kind}" is no kind of classifier of images; use one of {", ".join(KINDS)}.')
        if bool(self.record) != (self.kind == "fusion"):
            raise UserError("--record names the table's columns that --kind fusion reads beside the image; give both or neither.")


def train_classifier(request: ClassifyRequest, device: str = "auto", progress: Progress | None = None, say=print) -> Path:
    """Train, or go on with, what ``request`` asks for and return the folder of the finished bundle.

    progress: called with (a line of text, fraction done); may raise `Cancelled`, after which the same call goes on.
    say: takes lines about the data and the network. Raises `UserError` for a table that cannot be trained on.
    """
    check_writable(request.output)
    output, report = make_folder(request.output), progress or (lambda text, fraction: None)
    torch_device = choose_device(device)
    class_set = read_classes(request.source, request.classes or None)
    before, cases = begun(output, request), split_cases(class_set, request.seed)
    config = classifier_config(request, class_set, cases["train"])
    preparation = PreparationConfig(size=request.size)
    say(_data_line(class_set, cases))
    train, val = (_examples(cases[part], config, preparation, report) for part in ("train", "val"))
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)
        network = build_classifier(config).to(torch_device)
    say(_network_line(network, train.batch(torch.arange(min(2, len(train))), torch_device)))
    loop = (LoopConfig.from_dict(before["loop"]) if before
            else LoopConfig(request.epochs or 1, request.batch, request.lr, seed=request.seed))
    store = TokenStore(output / "tokens")
    about = {"request": asdict(request), "network": config.to_dict(), "preparation": preparation.to_dict(),
             "cases": {name: [c.id for c in each] for name, each in cases.items()}}
    tokens = [_tokens(store, network, part, loop, torch_device, report, name) for name, part in (("train", train), ("val", val))]
    make = lambda loop: ClassifierTrainer(network, loop, train, val, output, json.loads(json.dumps(about)), tokens[0],
                                          None if tokens[1] is None else tokens[1][0], torch_device)
    if before is None and request.epochs is None:
        loop = replace(loop, epochs=epochs_for(request.minutes or MINUTES, make(loop).seconds_per_epoch()))
    trainer = make(loop)
    trained = trainer.run(report)
    draw_history(trainer.state.history, output / "curve.png", request.name or output.name)
    say(f"best epoch {trained.best_epoch} of {trained.epochs}, AUC {trained.best_auc:.3f} on val")
    masks = any(case.columns.get(MASK_COLUMN) for case in cases["train"])
    told = _about(request, output, config, loop, trained.best_epoch, train, masks)
    return export_classifier(output / "bundle", network, val, preparation, told, torch_device)


def classifier_config(request: ClassifyRequest, class_set: ClassSet, train) -> ClassifierConfig:
    """The network that a request asks for; a record's fields are looked up in the training cases."""
    known = request.encoder in ("cnn", "vit", "efficientnet-lite0")
    if not known and not Path(request.encoder).expanduser().is_dir():
        raise UserError(f'The encoder "{request.encoder}" is neither cnn, vit, efficientnet-lite0 nor a folder; give the folder of a '
                        "timm or Hugging Face model (config.json and model.safetensors).")
    frozen = request.encoder not in ("cnn", "vit") and not request.train_encoder
    encoder = EncoderConfig(request.encoder if known else "folder", "" if known else str(Path(request.encoder).expanduser()),
                            image_size=request.size, frozen=frozen)
    part = None
    if request.kind in WITH_LLM:
        llm = LLMConfig(request.llm, request.llm_layers, rotary=True) if request.llm_layers else None
        part = PneumoLLMConfig(request.tokens, llm=llm, llm_weights="random" if request.random_llm else "pretrained")
    record = plan_record(train, request.record) if request.record else None
    return ClassifierConfig(request.kind, class_set.classes, encoder, part, record)


def _examples(cases, config: ClassifierConfig, preparation: PreparationConfig, report: Progress) -> Examples:
    found = image_examples(cases, preparation, lambda text, fraction: report(text, 0.0))
    return replace(found, fields={**found.fields, **record_fields(cases, config.record)}) if config.record else found


def _tokens(store: TokenStore, network: Classifier, part: Examples, loop: LoopConfig, device, report: Progress, name: str):
    if not network.config.encoder.frozen:
        return None
    views, how = (loop.views, loop.augmentation) if name == "train" else (1, None)
    return store.get(network, part, views, how, {"kind": network.config.kind}, device, lambda text, fraction: report(text, 0.0))


def _about(request: ClassifyRequest, output: Path, config: ClassifierConfig, loop: LoopConfig, epoch: int, train: Examples,
           masks: bool) -> About:
    """What the bundle says of itself."""
    typical, any_image = typical_of(train.fields["image"].float().numpy()), InputConfig(modalities=(), body_part="", views=())
    return About(request.name or output.name, request.title or f"{config.classes[-1].replace('_', ' ')} in {request.modality}",
                 request.modality, request.data or "not stated", request.licence or NOT_STATED,
                 replace(InputConfig() if request.modality == "X-ray" else any_image, lungs=masks),
                 chosen={"epoch": epoch, "trained_on": len(train)}, training=json.loads(json.dumps(loop.to_dict())),
                 typical=typical)


def _data_line(class_set: ClassSet, cases) -> str:
    parts = []
    for name, each in cases.items():
        counts = ", ".join(f"{sum(c.target == n for c in each)} {label}" for n, label in enumerate(class_set.classes))
        parts.append(f"{name}: {len(each)} images of {len({c.group for c in each})} patients ({counts})")
    return "; ".join(parts)


def _network_line(network: Classifier, batch) -> str:
    """What the network is, and what one of the batch's images costs in time and memory."""
    config = network.config
    return (f"{config.kind}, encoder {config.encoder.kind}{' (frozen)' if config.encoder.frozen else ''}: "
            f"{measure_cost(network, batch, repeats=2)}")
