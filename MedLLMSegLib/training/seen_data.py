"""For a finished model whose bundle does not say what it has seen: the list, from its data.

    medllmseg bundle BUNDLE --seen DATA

Data are taken only where they are what the bundle says of its training: as many cases in each
split, or label maps of the same sha256.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import read_cases, split_cases
from MedLLMSegLib.data.case_digest import marks_of_cases
from MedLLMSegLib.data.image_table import read_classes
from MedLLMSegLib.registry.classifier_config import ClassifierConfig
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases
from MedLLMSegLib.training.classifier.seen_images import seen_images
from MedLLMSegLib.training.synthesis.brain_bundle import map_digests, seen_maps


def seen_in(metadata: Json, data: str | Path) -> SeenCases:
    """What a model has seen of the data that it was trained on.

    metadata: of its bundle. data: what the training read, with the same splits. Raises `UserError`
    where the data are not those of the training, and for a model that was started from another, of
    which these data do not tell all.
    """
    if metadata.get("fine_tuned_from"):
        raise UserError(
            f'"{metadata["id"]}" was started from another model, and what that one has seen is not'
            " in these data; train it again."
        )
    if metadata["kind"] == "localizer":  # it had no val split, and was scored on maps kept out
        return replace(seen_maps(data), val=Marks())
    if metadata.get("label_maps"):
        if map_digests(data) != metadata["label_maps"]:
            raise _other_data(metadata, data, "the label maps have another sha256")
        return seen_maps(data)
    chosen = metadata["chosen"]
    if metadata["kind"] == "classifier":
        config = ClassifierConfig.from_dict(metadata["network"])
        classes = read_classes(data, config.classes, tuple(metadata["input"].get("channels") or ()))
        images = split_cases(classes, metadata["training"].get("seed", 0))
        _check_counts(metadata, data, chosen, len(images["train"]), len(images["val"]))
        return seen_images(config, images)
    cases = split_cases(read_cases(data), metadata["training"].get("seed", 0))
    _check_counts(metadata, data, chosen, len(cases["train"]), len(cases["val"]))
    train, val = (marks_of_cases(cases[split]) for split in ("train", "val"))
    return SeenCases(train=train, val=val, known=True)


def _check_counts(metadata: Json, data: str | Path, chosen: Json, train: int, val: int) -> None:
    stated = (chosen["trained_on"], chosen["chosen_on"])
    if (train, val) != stated:
        raise _other_data(
            metadata,
            data,
            f"they have {train} cases to train on and {val} to choose by, and the training had"
            f" {stated[0]} and {stated[1]}",
        )


def _other_data(metadata: Json, data: str | Path, why: str) -> UserError:
    return UserError(
        f'"{Path(data)}" is not what "{metadata["id"]}" was trained on: {why}; give its own data.'
    )
