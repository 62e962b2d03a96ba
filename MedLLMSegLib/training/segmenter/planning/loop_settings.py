"""The settings of the training loop for a request and its plan, on this machine."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import nn

from MedLLMSegLib.core.types import Json, Triple
from MedLLMSegLib.training.devices import precision_of, sample_workers
from MedLLMSegLib.training.segmenter.case_recipe import LabelledCases
from MedLLMSegLib.training.segmenter.request import TrainRequest
from MedLLMSegLib.training.segmenter.samples.augmentation import VolumeAugmentation
from MedLLMSegLib.training.segmenter.train_config import TrainConfig

from .plan import DataPlan
from .speed import TrainingSpeed, seconds_per_step, seconds_per_validation

USUAL_MINUTES = 60


FINE_TUNING_LR = {"muon": 3e-3, "adamw": 3e-4}  # Muon's chosen on val cases: docs/train.md


def with_workers(config: TrainConfig, fabric) -> TrainConfig:
    """The settings with as many sample-making processes as this machine can run.

    No plan holds their number, as they change no sample.
    """
    voxels = config.batch // fabric.world_size * math.prod(config.window)
    bytes_of_batch = 8 * voxels  # an image and a label of 4 bytes a voxel
    return replace(config, workers=sample_workers(fabric.device, bytes_of_batch))


def loop_settings(
    request: TrainRequest, about: Json, network: nn.Module, train, val, fabric
) -> TrainConfig:
    """The settings of the loop. Where a time is asked for, this machine's speed is measured to find
    how many steps and validations fit it; ``about`` then tells of it as "pace".
    """
    config = _settings_without_steps(request, about, fabric)
    steps, validations = request.steps, request.validations
    if steps is None:
        classes = about["network"]["classes"]
        speed = _measured_speed(config, network, classes, train, val, fabric)
        steps, validations = speed.fit(60 * (request.minutes or USUAL_MINUTES), validations)
        about["pace"] = speed.summary(steps, validations)
    return replace(
        config,
        steps=steps,
        validate_every=max(1, math.ceil(steps / validations)),
        warmup_steps=min(config.warmup_steps, steps // 10),
    )


def _settings_without_steps(request: TrainRequest, about: Json, fabric) -> TrainConfig:
    plan = DataPlan.from_dict(about["plan"])
    augmentation = VolumeAugmentation(plan.rotate_deg, plan.scale, flips=plan.flips)
    if request.augmentation == "strong":
        augmentation = augmentation.stronger()
    elif request.augmentation == "scanners":
        augmentation = augmentation.for_scanners()
    config = TrainConfig(
        batch=plan.batch,
        window=plan.window,
        optimiser=request.optimiser,
        precision=precision_of(fabric),
        seed=request.seed,
        patience=request.patience,
        augmentation=augmentation,
        predict_window=_predict_window(request, plan),
        noise_fraction=0.03 if request.anatomy else 0.0,
    )
    if request.start:
        # A model of the same structures is never made worse by the val cases' judgement: the
        # weights that it begins with count too.
        lr = FINE_TUNING_LR[request.optimiser]
        config = replace(config, lr=lr, warmup_steps=50, look_first=True)
    return replace(config, lr=request.lr) if request.lr else config


def _predict_window(request: TrainRequest, plan: DataPlan) -> Triple:
    if request.anatomy:
        return (96, 96, 96)
    return plan.wide_window if request.augmentation == "scanners" else plan.window


def _measured_speed(
    config: TrainConfig, network: nn.Module, classes: int, train, val, fabric
) -> TrainingSpeed:
    """The first process's measurement, in all processes."""
    config = with_workers(config, fabric)
    recipe = LabelledCases(classes, config, train, val)
    step_s = seconds_per_step(network, recipe, config, fabric.device, fabric.world_size)
    with fabric.autocast():  # as the trainer validates
        validation_s = seconds_per_validation(
            network, recipe.val, config.predict_window, fabric.device, fabric.world_size
        )
    return fabric.broadcast(TrainingSpeed(step_s, validation_s))
