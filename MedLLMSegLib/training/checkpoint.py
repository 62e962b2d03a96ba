"""The state of a training and its files: what a killed training goes on from, and the best
weights so far.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from pickle import (
    UnpicklingError,  # what torch raises for a damaged checkpoint; nothing is unpickled here
)

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write, write_text
from MedLLMSegLib.llm.frozen_weights import trained_tensors

DESCRIPTION_FIELDS = (
    "title",
    "licence",
    "data",
)  # of a request that change nothing but the model's description
LAST, BEST, PLAN, HISTORY = "last.pt", "best.pt", "plan.json", "history.json"


@dataclass
class TrainingState:
    """Everything that changes during a training, besides the network and the optimiser.

    average: exponential moving average of the trained tensors. step: updates made. losses: since
    the last line of history. worse: validations in a row without a better score. seconds: training
    time over all runs.
    """

    average: dict[str, Tensor]
    step: int = 0
    best: float = -1.0
    worse: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)


def save_last(
    folder: Path, state: TrainingState, network: nn.Module, optimiser, scaler=None
) -> None:
    """Write the checkpoint whole or not at all; what stood there before stays until then."""
    save(
        folder / LAST,
        {
            "network": trained_tensors(network),
            "optimiser": optimiser.state_dict(),
            "kind": _kind(optimiser),
            "scaler": scaler.state_dict() if scaler else None,
            **vars(state),
        },
    )
    write_history(folder, state)


def write_history(folder: Path, state: TrainingState) -> None:
    """What whoever watches a training reads."""
    write_text(folder / HISTORY, json.dumps(state.history, indent=1))


def load_last(folder: Path, network: nn.Module, optimiser, scaler=None) -> TrainingState | None:
    """Fill network and optimiser from the last checkpoint and return its state; None where there
    is none.
    """
    if not (folder / LAST).exists():
        return None
    saved = load(folder / LAST)
    if saved.pop("kind", _kind(optimiser)) != _kind(
        optimiser
    ):  # each would take the other's moments for its own
        raise UserError(
            f'"{folder}" holds a training with another optimiser; go on with that one, or choose'
            " another folder."
        )
    network.load_state_dict(saved.pop("network"), strict=False)
    optimiser.load_state_dict(saved.pop("optimiser"))
    of_scaler = saved.pop("scaler")
    if scaler and of_scaler:
        scaler.load_state_dict(of_scaler)
    return TrainingState(**saved)


def _kind(optimiser) -> str:
    return type(
        getattr(optimiser, "optimizer", optimiser)
    ).__name__  # Fabric's lies around the real one


def save_best(folder: Path, state: TrainingState) -> None:
    save(folder / BEST, {"weights": state.average, "step": state.step, "val_dice": state.best})


def load_best(folder) -> dict:
    """The best weights of a training: {"weights": trained tensors, and when and how good: "step"
    and "val_dice", or "epoch" and "val_auc"}.
    """
    path = Path(folder) / BEST
    if not path.exists():
        raise UserError(
            f'"{folder}" holds no finished training ({BEST} is missing); run `medllmseg train`'
            " first."
        )
    return load(path)


def fill_best(network: nn.Module, folder) -> dict:
    """Put the best weights of a training into its network; returns what `load_best` does."""
    best = load_best(folder)
    network.load_state_dict(best["weights"], strict=False)
    return best


def write_plan(folder: Path, plan: dict) -> None:
    """Record what is trained, or refuse a folder in which something else was begun.

    What an older version did not yet write is no difference; whether its default is asked for,
    `plan_to_resume` says.
    """
    path, text = folder / PLAN, json.dumps(plan, indent=1)
    if (
        path.exists()
        and (folder / LAST).exists()
        and not _agree(json.loads(path.read_text(encoding="utf-8")), json.loads(text))
    ):
        raise UserError(
            f'"{folder}" holds a training with other settings or data; '
            "choose another output folder, or go on with the settings it began with."
        )
    write_text(path, text)


def _agree(found, plan) -> bool:
    if isinstance(found, dict) and isinstance(plan, dict):
        return all(key in plan and _agree(value, plan[key]) for key, value in found.items())
    return found == plan


def read_plan(folder) -> dict | None:
    """What is being trained in a folder; None where nothing was begun."""
    path = Path(folder) / PLAN
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f'"{path}" is damaged; choose another output folder.') from error


def plan_to_resume(folder, request) -> dict | None:
    """The plan of a training that was begun in a folder by the same request; None where nothing was
    saved yet.

    request: a dataclass, which the plan holds as "request"; its "output" may differ, and its
    "source" where the plan knows what the files held. Raises `UserError` for another request.
    """
    plan = read_plan(folder)
    if plan is None or not (Path(folder) / LAST).exists():
        return None
    own = json.loads(json.dumps(asdict(request)))
    # An older plan lacks the options that came later; "before" is what was done then, where that is
    # not today's default.
    before = {f.name: f.metadata.get("before", f.default) for f in fields(request)}
    usual = {
        name: list(value) if isinstance(value, tuple) else value for name, value in before.items()
    }
    found = {k: plan.get("request", {}).get(k, usual[k]) for k in own}
    moved = (
        {"output", "source"} if plan.get("contents") else {"output"}
    )  # the cases are known by what their files hold
    differing = [k for k, v in own.items() if k not in moved and found[k] != v]
    if differing and differing[0] in DESCRIPTION_FIELDS:
        raise UserError(
            f'"{folder}" holds a training with another "{differing[0]}" ({found[differing[0]]!r},'
            f" now {own[differing[0]]!r}); give the options it began with, and change its words by"
            " `medllmseg bundle` when it is finished."
        )
    if differing:
        raise UserError(
            f'"{folder}" holds a training with another "{differing[0]}" ({found[differing[0]]!r},'
            f" now {own[differing[0]]!r}); choose another output folder, or give the options it"
            " began with."
        )
    return plan


def save(path: Path, content: dict) -> None:
    """Tensors and plain values, whole or not at all."""
    written = io.BytesIO()
    torch.save(
        content, written
    )  # into memory: on a full disk torch raises no OSError, and names no reason
    with atomic_write(path) as scratch:
        scratch.write_bytes(written.getbuffer())


def load(path: Path) -> dict:
    """What `save` wrote. Raises `UserError` for a damaged file."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (
        OSError,
        ValueError,
        RuntimeError,
        UnpicklingError,
        EOFError,
        KeyError,
        TypeError,
        IndexError,
    ) as error:
        raise UserError(f'The checkpoint "{path}" is damaged; remove it to begin again.') from error
