"""What is decided on the val cases when a training is finished: the temperature, and whether structures are one part each.

The val cases also chose the weights; test cases are not read.
"""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import Progress, UserError
from ..inference import predict
from ..metrics import dice
from ..outputs import write_text
from ..postprocess import keep_largest
from ..uncertainty import fit_temperature
from .checkpoint import fill_best

CALIBRATION = "calibration.json"


def calibrate(run: Path, network: nn.Module, cases: list[dict], device: torch.device, window,
              progress: Progress | None = None) -> dict:
    """Fit the temperature of a run's best weights, see whether stray parts are errors, and keep it as ``run``/calibration.json.

    network: takes the best weights, and keeps them. cases: prepared val cases (`data.prepare_set`), on the network's own grid.
    progress: called with (a line of text, 0.99) before each case; it may raise `Cancelled`, and the next call begins anew.
    Returns {"temperature", "largest_part", "cases", "from_step"}; what is there already for the same weights is not fitted
    again. "largest_part": see `largest_part`. Where no structure is labelled or found, nothing can be fitted: the temperature is 1.
    """
    path, step = run / CALIBRATION, fill_best(network, run)["step"]
    if path.exists() and (known := json.loads(path.read_text(encoding="utf-8"))).get("from_step") == step and "largest_part" in known:
        return known
    network.to(device).eval()
    scores = []

    def pairs():
        for n, case in enumerate(cases, 1):
            if progress:
                progress(f"calibrating on val case {n} of {len(cases)}", 0.99)
            logits, label = predict(network, np.asarray(case["image"][0]), device, tuple(window)), np.asarray(case["label"][0])
            winner = logits.argmax(axis=0).astype(np.uint8)
            scores.append([[dice(found, label, c) for c in range(1, len(logits))] for found in (winner, keep_largest(winner))])
            yield logits, label

    try:
        temperature = round(fit_temperature(pairs()), 4)
    except UserError:
        temperature = 1.0
    found = {"temperature": temperature, "largest_part": largest_part(np.array(scores)), "cases": len(cases), "from_step": step}
    write_text(path, json.dumps(found, indent=1) + "\n")
    return found


def largest_part(scores: np.ndarray) -> dict:
    """Whether to keep the largest connected part of each structure alone, as nnU-Net decides it (Isensee et al. 2021).

    scores: Dice (cases, 2, structures) of all parts and of the largest one, NaN where a structure is neither labelled nor found.
    Returns {"kept", "dice_all", "dice_largest"}: kept if the mean gets better and no structure's gets worse.
    """
    with np.errstate(invalid="ignore"):
        there = np.isfinite(scores)
        means = np.where(there, scores, 0).sum(axis=0) / there.sum(axis=0)  # (2, structures)
    known = means[:, np.isfinite(means).all(axis=0)]
    if not known.size:
        return {"kept": False, "dice_all": None, "dice_largest": None}
    before, after = known.mean(axis=1)
    kept = bool(after > before and (known[1] >= known[0]).all())
    return {"kept": kept, "dice_all": round(float(before), 5), "dice_largest": round(float(after), 5)}
