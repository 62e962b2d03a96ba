"""Time and memory of each arm: a few training steps and images in a process of its own, so that no
other arm's memory counts.

Run as ``python -m MedLLMSegLib.studies.diagnosis.diagnosis_cost JSON BATCH``, JSON being a
classifier's configuration; it prints JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F

from MedLLMSegLib.core.memory import peak_memory_mb
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.registry.classifier_config import ClassifierConfig
from MedLLMSegLib.studies.study.cost import in_own_process, median_seconds

from .classifier_study import ClassifierStudy
from .study_runs import parameter_counts

MODULE = "MedLLMSegLib.studies.diagnosis.diagnosis_cost"
STEPS, STEPS_OF_A_SEQUENCE = 3, 2


def measure_study(study: ClassifierStudy, progress: Report | None = None) -> dict[str, dict]:
    """Every arm that is a network, one fresh process each; kept in the results under "measured"."""
    found = {}
    configs = {name: arm.config for name, arm in study.arms.items() if arm.config}
    parts = Progress.of(progress).parts(len(configs))
    for (name, config), part in zip(configs.items(), parts, strict=True):
        part(f"measuring {name}", 0.0)
        arguments = [json.dumps(config.to_dict()), str(study.loop.batch)]
        found[name] = in_own_process(MODULE, arguments, name)
    study.results.put("measured", found)
    return found


def measured(config: ClassifierConfig, batch: int) -> dict:
    """One arm on random images, on the CPU: medians of a few calls, the first of each left out.

    step_seconds: of a training step, a frozen encoder's tokens being at hand as in a training.
    image_ms: of one image (or sequence of two) from pixels to logits. peak_mb: the largest resident
    size of the process, libraries (before_mb) included.
    """
    before = peak_memory_mb()
    network = build_classifier(config)
    size, frozen = config.encoder.image_size, config.encoder.frozen
    steps = (STEPS_OF_A_SEQUENCE,) if config.kind == "cnn-lstm" else ()
    image, target = (
        torch.randn(batch, *steps, config.encoder.channels, size, size),
        torch.arange(batch) % len(config.classes),
    )
    with torch.inference_mode():
        image_ms = 1000 * _seconds(lambda: network.eval()({"image": image[:1]}))
        tokens = network.encode({"image": image}).clone() if frozen else None
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad])

    def step() -> None:
        logits = network({"image": image}) if tokens is None else network.classify(tokens, {})
        F.cross_entropy(logits, target).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    network.train()
    if tokens is not None:
        tokens = torch.tensor(tokens.numpy())  # a tensor of inference mode cannot be trained on
    return {
        "step_seconds": round(_seconds(step), 4),
        "image_ms": round(image_ms, 1),
        "peak_mb": round(peak_memory_mb(), 1),
        "before_mb": round(before, 1),
        "threads": torch.get_num_threads(),
        "parameters": parameter_counts(network),
    }


def _seconds(work: Callable[[], object]) -> float:
    return median_seconds(work, STEPS).wall


if __name__ == "__main__":
    print(
        json.dumps(measured(ClassifierConfig.from_dict(json.loads(sys.argv[1])), int(sys.argv[2])))
    )
