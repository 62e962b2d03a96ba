"""The state of a training and its files: what a killed training goes on from, and the best
weights so far.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError  # torch raises it for a damaged file; nothing is unpickled

import torch
from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import atomic_write, remove_leftovers, write_text
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
    time over all runs. warm_from: the step at which the optimiser was new. draws: where dropout's
    random numbers stand, for a recipe that goes on with them.
    """

    average: dict[str, Tensor]
    step: int = 0
    best: float = -1.0
    worse: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)
    warm_from: int = 0
    draws: dict[str, Tensor] = field(default_factory=dict)


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
    write_history(folder, state.history)


def write_history(folder: Path, history: list[dict]) -> None:
    """Write the rows from which a live curve is drawn."""
    write_text(folder / HISTORY, json.dumps(history, indent=1))


def load_last(folder: Path, network: nn.Module, optimiser, scaler=None) -> TrainingState | None:
    """Fill network and optimiser from the last checkpoint and return its state; None where there
    is none.
    """
    if not (folder / LAST).exists():
        return None
    saved = load(folder / LAST)
    if "epoch" in saved:
        raise UserError(
            f'"{folder}" holds the training of a classifier that was begun with version 0.3 or'
            " older, which counted in epochs; go on with that version, or choose another folder."
        )
    own = _kind(optimiser)
    if saved.pop("kind", own) != own:  # each would take the other's moments for its own
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
    """The name of the optimiser's class; Fabric wraps the real one."""
    return type(getattr(optimiser, "optimizer", optimiser)).__name__


def save_best(folder: Path, state: TrainingState, key: str) -> None:
    """Write the averaged weights as the best so far. key: of their score."""
    save(folder / BEST, {"weights": state.average, "step": state.step, key: state.best})


def load_best(folder) -> dict:
    """The best weights of a training: {"weights": trained tensors, and when and how good: "step"
    and a `Measure`'s key}; those of a classifier of version 0.3 have an "epoch".
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

    An entry that an older version did not write yet makes no difference here; `plan_to_resume`
    checks that it has its default.
    """
    remove_leftovers(folder)
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


def _agree(old, new) -> bool:
    """Whether all that an old plan states stands in the new one."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and _agree(value, new[key]) for key, value in old.items())
    return old == new


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
    now = json.loads(json.dumps(asdict(request)))
    # An older plan lacks the options that came later. "before" is what was done then, where that is
    # not today's default.
    defaults = {f.name: _as_json(f.metadata.get("before", f.default)) for f in fields(request)}
    before = {name: plan.get("request", {}).get(name, defaults[name]) for name in now}
    # Where the plan knows what the files held, they may have been moved.
    movable = {"output", "source"} if plan.get("contents") else {"output"}
    differing = [n for n, value in now.items() if n not in movable and before[n] != value]
    if differing:
        name = differing[0]
        advice = (
            "give the options it began with, and change its words by `medllmseg bundle` when it is"
            " finished."
            if name in DESCRIPTION_FIELDS
            else "choose another output folder, or give the options it began with."
        )
        raise UserError(
            f'"{folder}" holds a training with another "{name}" ({before[name]!r},'
            f" now {now[name]!r}); {advice}"
        )
    return plan


def _as_json(value):
    return list(value) if isinstance(value, tuple) else value


def save(path: Path, content: dict) -> None:
    """Tensors and plain values, whole or not at all."""
    # Into memory first: on a full disk torch raises no OSError and names no reason.
    written = io.BytesIO()
    torch.save(content, written)
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
