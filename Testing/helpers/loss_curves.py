"""Fifty steps of a segmenter, the localizer and two classifiers, in fp32 on one thread.

    python -m Testing.helpers.loss_curves Testing/training/loss_curves.json

writes their losses, a number for each step. They were recorded with version 0.3's two loops.
"""

import json
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from MedLLMSegLib.core.processor import processor_name
from MedLLMSegLib.data import read_cases, split_cases
from MedLLMSegLib.data.image_table import read_classes
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.networks.segmentation.localizer_network import LocalizerConfig
from MedLLMSegLib.registry.classifier_config import (
    ClassifierConfig,
    EncoderConfig,
    PneumoLLMConfig,
    PreparationConfig,
)
from MedLLMSegLib.registry.network_config import OURS, LLMConfig
from MedLLMSegLib.segmentation.prepare import Preparation
from MedLLMSegLib.training.classifier.classifier_recipe import ClassifierLoop, ClassifierRecipe
from MedLLMSegLib.training.classifier.examples import encode_views
from MedLLMSegLib.training.classifier.prepared_images import image_examples
from MedLLMSegLib.training.localizer.localizer_batches import LocalizerSettings, load_heads
from MedLLMSegLib.training.localizer.localizer_recipe import LocalizerRecipe
from MedLLMSegLib.training.localizer.train_localizer import beginning
from MedLLMSegLib.training.loop_config import LoopConfig
from MedLLMSegLib.training.segmenter.case_recipe import case_trainer
from MedLLMSegLib.training.segmenter.samples.prepared_cases import prepare_set
from MedLLMSegLib.training.segmenter.train_config import TrainConfig
from MedLLMSegLib.training.trainer import Trainer

STEPS = 50
EPOCHS, BATCH = 10, 16  # of a classifier: 5 steps an epoch
IMAGES = {"train": 80, "val": 20}  # half of each class
CLASSES = ("no finding", "pneumonia")


@contextmanager
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def losses_of_steps(history):
    """The loss of each step of a history in which every step has a row."""
    return [row["loss"] for row in history if "loss" in row]


def segmenter(data, folder):
    """Our network on crops of the hippocampus."""
    cases = read_cases(data / "hippocampus")
    splits = split_cases(cases)
    preparation = Preparation(1.0)
    train, val = (
        prepare_set(splits[split][:count], cases, preparation)
        for split, count in (("train", 8), ("val", 1))
    )
    config = TrainConfig(
        steps=STEPS,
        window=(24, 32, 24),
        warmup_steps=5,
        optimiser="muon",
        lr=3e-3,
        validate_every=0,
        log_every=1,
    )
    torch.manual_seed(0)
    network = build_network(OURS, resolve(OURS.llm.source, OURS.llm.layers))
    trainer = case_trainer(network, 3, config, train, val, folder, {"of": "the segmenter"})
    trainer.run()
    return losses_of_steps(trainer.state.history)


def localizer(data, folder):
    """The localizer on synthesised heads."""
    folder_of_maps = data / "brain_labelmaps"
    settings = LocalizerSettings(sizes=(48,), sizes_p=(1.0,))
    train, val = (load_heads(folder_of_maps, held_out)[:2] for held_out in (False, True))
    config = LoopConfig(
        steps=STEPS,
        batch=1,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        ema=settings.ema,
        validate_every=0,
        log_every=1,
    )
    recipe = LocalizerRecipe(settings, train, val)
    network = beginning(LocalizerConfig(), 0)
    trainer = Trainer(network, recipe, config, folder, {"of": "the localizer"})
    trainer.run()
    return losses_of_steps(trainer.state.history)


def images_of(data, size):
    """Some X-rays, half of each class."""
    cases = split_cases(read_classes(data / "cxr"))
    chosen = {
        split: [case for target in (0, 1) for case in _of_class(cases[split], target, count // 2)]
        for split, count in IMAGES.items()
    }
    return {s: image_examples(each, PreparationConfig(size=size)) for s, each in chosen.items()}


def _of_class(cases, target, count):
    return [case for case in cases if case.target == target][:count]


def classifier(data, folder):
    """PneumoLLM with our layer behind a frozen CNN, whose tokens are made once."""
    encoder = EncoderConfig("cnn", image_size=64, width=32, frozen=True)
    llm = PneumoLLMConfig(llm=LLMConfig(rotary=True))
    return _classifier(data, folder, ClassifierConfig("pneumollm", CLASSES, encoder, llm))


def classifier_with_encoder(data, folder):
    """A small CNN trained here, on images that are changed anew for each batch."""
    encoder = EncoderConfig("cnn", image_size=64, width=32)
    return _classifier(data, folder, ClassifierConfig("mlp", CLASSES, encoder))


def _classifier(data, folder, config):
    images = images_of(data, config.encoder.image_size)
    torch.manual_seed(0)
    network, loop = build_classifier(config), ClassifierLoop(epochs=EPOCHS, batch=BATCH)
    tokens = ()
    if config.encoder.frozen:
        views = encode_views(network, images["train"], 2, loop.augmentation)
        tokens = (views, encode_views(network, images["val"], 1, None)[0])
    recipe = ClassifierRecipe(loop, images["train"], images["val"], *tokens)
    every_step = replace(recipe.loop, log_every=1)
    trainer = Trainer(network, recipe, every_step, folder, {"of": "a classifier"})
    trainer.run()
    history = trainer.state.history
    return losses_of_steps(history), [row["val_auc"] for row in history if "val_auc" in row]


CURVES = {
    "segmenter": segmenter,
    "localizer": localizer,
    "classifier": classifier,
    "classifier with encoder": classifier_with_encoder,
}


def curve(name, data):
    """One of `CURVES`: {"loss": of each step, and of a classifier "val_auc": of each epoch}."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        found = CURVES[name](Path(data), Path(folder))
    if isinstance(found, tuple):
        return {"loss": found[0], "val_auc": found[1]}
    return {"loss": found}


if __name__ == "__main__":
    from Testing.helpers.places import DATA

    recorded = {"command": "python -m Testing.helpers.loss_curves", "processor": processor_name()}
    recorded |= {"torch": torch.__version__}
    recorded |= {"curves": {name: curve(name, DATA) for name in CURVES}}
    Path(sys.argv[1]).write_text(json.dumps(recorded) + "\n", encoding="utf-8")
