"""`train_classifier`: a table of labelled images in, a classifier's bundle out. The public
function of this training.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import check_writable, make_folder
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import patients_counted, split_cases
from MedLLMSegLib.data.image_table import ClassSet, read_classes
from MedLLMSegLib.diagnosis.classifier_description import NOT_STATED, ClassifierDescription
from MedLLMSegLib.diagnosis.input_checks import MODALITY_NAMES, typical_image
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.networks.cost import measure_cost
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, PreparationConfig
from MedLLMSegLib.segmentation.inference import choose_device
from MedLLMSegLib.training.checkpoint import HISTORY, plan_to_resume
from MedLLMSegLib.training.measure import AUC

from .classifier_recipe import ClassifierLoop, ClassifierRecipe, epochs_for, train_by
from .classify_request import MINUTES, ClassifyRequest, classifier_config, with_defaults
from .examples import Examples, TokenStore
from .export_classifier import export_classifier
from .prepared_images import MASK_COLUMN, channels_input, image_examples, record_fields
from .seen_images import seen_images


def train_classifier(
    request: ClassifyRequest, device: str = "auto", progress: Report | None = None, say=print
) -> Path:
    """Train, or go on with, what ``request`` asks for and return the folder of the finished bundle.

    progress: called with (a line of text, fraction done); may raise `Cancelled`, after which the
    same call goes on. say: takes lines about the data and the network. Raises `UserError` for a
    table that cannot be trained on.
    """
    check_writable(request.output)
    output, report = make_folder(request.output), Progress.of(progress)
    torch_device = choose_device(device)
    request = with_defaults(request)
    class_set = read_classes(request.source, request.classes or None, request.channels)
    begun, cases = plan_to_resume(output, request), split_cases(class_set, request.seed)
    config = classifier_config(request, class_set, cases["train"])
    preparation, shown = PreparationConfig(size=request.size), _input(request, cases["train"])
    say(_data_line(class_set, cases, shown))
    reading = report.part(0.0, 0.0)  # the training alone counts as progress
    train, val = (
        _examples(cases[split], config, preparation, shown, reading) for split in ("train", "val")
    )
    network = _network(config, request.seed, torch_device)
    say(_network_line(network, train.batch(torch.arange(min(2, len(train))), torch_device)))
    loop = _loop(request, begun)
    make_recipe = partial(
        ClassifierRecipe,
        train=train,
        val=val,
        device=torch_device,
        **_tokens(TokenStore(output / "tokens"), network, train, val, loop, torch_device, reading),
    )
    if begun is None and request.epochs is None:
        seconds = make_recipe(loop=loop).seconds_per_epoch(network)
        loop = replace(loop, epochs=epochs_for(request.minutes or MINUTES, seconds))
    about = _about(request, config, preparation, cases)
    trained = train_by(make_recipe(loop=loop), network, output, about, report)
    _draw(output, request.name or output.name)
    say(f"best epoch {trained.best_epoch} of {trained.epochs}, AUC {trained.best_auc:.3f} on val")
    named = replace(request, name=request.name or output.name)
    about_model = replace(
        _description(named, shown, config, loop, trained.best_epoch, train),
        seen=seen_images(config, cases).to_dict(),
        data_note=class_set.assumption,
    )
    bundle = output / "bundle"
    return export_classifier(bundle, network, val, preparation, about_model, torch_device)


def _draw(output: Path, title: str) -> None:
    from MedLLMSegLib.training.curves import draw_curve  # matplotlib comes with it

    history = json.loads((output / HISTORY).read_text(encoding="utf-8"))
    draw_curve(history, output / "curve.png", title, AUC)


def _loop(request: ClassifyRequest, begun: Json | None) -> ClassifierLoop:
    """The loop of the training that was begun, or of the request."""
    if begun:
        return ClassifierLoop.from_dict(begun["loop"])
    return ClassifierLoop(request.epochs or 1, request.batch, request.lr, seed=request.seed)


def _network(config: ClassifierConfig, seed: int, device: torch.device) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_classifier(config).to(device)


def _about(
    request: ClassifyRequest, config: ClassifierConfig, preparation: PreparationConfig, cases
) -> Json:
    """What the folder belongs to; another training is refused there. cases: split -> cases."""
    about = {
        "request": asdict(request),
        "network": config.to_dict(),
        "preparation": preparation.to_dict(),
        "cases": {split: [c.id for c in in_split] for split, in_split in cases.items()},
    }
    return json.loads(json.dumps(about))


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
    progress: Progress,
) -> Examples:
    examples = image_examples(cases, preparation, progress, shown)
    if not config.record:
        return examples
    record = record_fields(cases, config.record)
    return replace(examples, fields={**examples.fields, **record})


def _tokens(
    store: TokenStore,
    network: Classifier,
    train: Examples,
    val: Examples,
    loop: ClassifierLoop,
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    """The recipe's arguments train_tokens and val_tokens; none of an encoder that is trained."""
    if not network.config.encoder.frozen:
        return {}
    views = store.get(network, train, loop.views, loop.augmentation, device, progress)
    single_view = store.get(network, val, 1, None, device, progress)
    return {"train_tokens": views, "val_tokens": single_view[0]}


def _description(
    request: ClassifyRequest,
    shown: InputConfig,
    config: ClassifierConfig,
    loop: ClassifierLoop,
    epoch: int,
    train: Examples,
) -> ClassifierDescription:
    """What the bundle says of itself."""
    images = train.fields["image"][:, 0].float().numpy()
    complete = images[~np.isnan(images).any((1, 2))]
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
        typical=typical_image(complete) if len(complete) else None,
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
    for split, in_split in cases.items():
        counts = [
            f"{sum(c.target == n for c in in_split)} {label}"
            for n, label in enumerate(class_set.classes)
        ]
        missing = {
            channel: sum((c.image, *c.channels)[n] is None for c in in_split)
            for n, channel in enumerate(shown.names)
        }
        counts += [f"{count} without {channel}" for channel, count in missing.items() if count]
        patients = len({case.group for case in in_split})
        counted = patients_counted(class_set.assumption, len(in_split), patients)
        whose = f" of {patients} patients" if counted else ""
        parts.append(f"{split}: {len(in_split)} images{whose} ({', '.join(counts)})")
    return "; ".join(parts) + (f". {class_set.assumption}" if class_set.assumption else "")


def _network_line(network: Classifier, batch) -> str:
    """What the network is, and what one of the batch's images costs in time and memory."""
    config = network.config
    return (
        f"{config.kind}, encoder"
        f" {config.encoder.kind}{' (frozen)' if config.encoder.frozen else ''}:"
        f" {measure_cost(network, batch, repeats=2)}"
    )
