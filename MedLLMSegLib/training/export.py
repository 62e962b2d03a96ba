"""A training run -> a bundle: the best weights, what they were trained on, and what was measured."""
from __future__ import annotations

import json
from pathlib import Path
from pickle import UnpicklingError  # what torch raises for a damaged checkpoint; nothing is unpickled here

import torch

from ..bundle import weights_sha256, write_bundle
from ..config import NetworkConfig
from ..errors import UserError
from ..llm.store import resolve
from .card import bundle_licence, model_card

# Facts of the hippocampus model that do not come out of a training run.
HIPPOCAMPUS = {
    "id": "hippocampus-t1", "kind": "segmenter", "title": "Hippocampus, anterior and posterior, in T1 MRI",
    "modality": "MR T1", "anatomy": "hippocampus",
    "structures": ["anterior hippocampus", "posterior hippocampus"],
    "licence": "CC-BY-SA-4.0", "localizer": "brain-t1-localizer", "version": "0.1.0",
    "data": "Medical Segmentation Decathlon Task04 Hippocampus (Vanderbilt University Medical Center), CC BY-SA 4.0",
}


def export_bundle(run, output, results=None) -> Path:
    """Write the best epoch of a run as a bundle.

    results: path of the summary that `medllmseg evaluate` wrote for this very run's bundle; its figures go into the
    metadata and the model card. Without it they say "not measured".
    """
    run = Path(run)
    try:
        state = torch.load(run / "best.pt", weights_only=True)
        plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError, UnpicklingError) as error:
        raise UserError(f'"{run}" holds no finished training (best.pt and plan.json are needed); '
                        "run `medllmseg train` first.") from error
    config = NetworkConfig.from_dict(plan["network"])
    measured = _measured(Path(results), weights_sha256(state["weights"])) if results else None
    metadata = {**HIPPOCAMPUS, "network": config.to_dict(), "training": plan["train"], "preprocessing": plan["preprocessing"],
                "chosen": {"epoch": state["epoch"], "val_dice": round(state["val_dice"], 4),
                           "trained_on": plan["trained_on"], "chosen_on": plan["chosen_on"]}, "results": measured,
                "accuracy": _accuracy(measured)}
    if config.llm:
        weights = resolve(config.llm.source, config.llm.layers)
        metadata |= {"llm_sha256": weights.sha256, "llm": f"{config.llm.source}, layer {', '.join(map(str, config.llm.layers))}"}
    return write_bundle(output, metadata, state["weights"], model_card(metadata, state["weights"]),
                        bundle_licence(metadata))


def _measured(path: Path, sha256: str) -> dict:
    """A summary of `medllmseg evaluate`, which must be of these very weights."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        found = summary["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'"{path}" is no summary that `medllmseg evaluate` wrote; give its .summary.json.') from error
    if found != sha256:
        raise UserError(f'"{path}" was measured with other weights; evaluate the bundle of this run first.')
    return summary


def _accuracy(measured: dict | None) -> str:
    if measured is None:
        return "not measured"
    return f"mean Dice {measured['mean']['mean']:.3f} on {measured['cases']} test crops"
