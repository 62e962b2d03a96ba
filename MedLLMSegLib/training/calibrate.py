"""The temperature of a finished training, fitted on the val cases: they chose the weights, and the test cases stay unread."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from ..inference import predict
from ..outputs import write_text
from ..uncertainty import fit_temperature
from .checkpoint import fill_best

CALIBRATION = "calibration.json"


def calibrate(run: Path, network: nn.Module, cases: list[dict], device: torch.device, window) -> dict:
    """Fit the temperature of a run's best weights and keep it as ``run``/calibration.json.

    network: takes the best weights, and keeps them. cases: prepared val cases (`data.prepare_set`), on the network's own grid.
    Returns {"temperature", "cases", "from_step"}; what is there already for the same weights is not fitted again.
    Where no structure is labelled or found, nothing can be fitted: the temperature is 1.
    """
    path, step = run / CALIBRATION, fill_best(network, run)["step"]
    if path.exists() and (known := json.loads(path.read_text(encoding="utf-8"))).get("from_step") == step:
        return known
    network.to(device).eval()
    pairs = ((predict(network, np.asarray(case["image"][0]), device, tuple(window)), np.asarray(case["label"][0])) for case in cases)
    try:
        temperature = round(fit_temperature(pairs), 4)
    except UserError:
        temperature = 1.0
    found = {"temperature": temperature, "cases": len(cases), "from_step": step}
    write_text(path, json.dumps(found, indent=1) + "\n")
    return found
