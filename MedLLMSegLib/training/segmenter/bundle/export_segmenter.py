"""A training run -> a bundle: the best weights, what they were trained on, and what was
measured.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.registry.bundle import read_bundle, rewrite_texts, weights_sha256, write_bundle
from MedLLMSegLib.registry.catalogue import METADATA, find_model, read_metadata
from MedLLMSegLib.registry.monai_fields import monai_fields
from MedLLMSegLib.registry.monai_inference import inference_config, runs_in_monai
from MedLLMSegLib.registry.network_config import NetworkConfig
from MedLLMSegLib.registry.seen_cases import FIELD
from MedLLMSegLib.registry.trained_range import FIELD as RANGE
from MedLLMSegLib.registry.trained_range import TrainedRange
from MedLLMSegLib.training.checkpoint import load_best, read_plan
from MedLLMSegLib.training.segmenter.transfer import check_licence
from MedLLMSegLib.training.shipped_models import SHIPPED

from .bundle_evidence import Evidence, accuracy_text, with_evidence
from .fit_calibration import CALIBRATION
from .segmenter_card import bundle_licence, model_card

LIMIT_MB = 10.0  # of a bundle that we ship
NO_LICENCE = "not stated: yours to decide"


def export_bundle(
    run,
    output,
    results=None,
    shipped: str | None = None,
    evidence: Evidence | None = None,
    description: dict[str, str] | None = None,
) -> Path:
    """Write the best weights of a run as a bundle.

    shipped: the id in `shipped_models.SHIPPED` of a model of ours, whose facts it takes and whose
    size is limited. results: as in `Evidence`, for the common case of nothing else. description:
    "title", "licence" or "data" in place of those that the training began with. Raises `UserError`
    for a run without result, for figures of other weights, and for a licence that a model tuned
    from forbids.
    """
    run, evidence = Path(run), evidence or Evidence(results)
    if evidence.calibration is None and (run / CALIBRATION).exists():
        # fitted when the training ended
        evidence = replace(evidence, calibration=run / CALIBRATION)
    state = load_best(run)
    plan = _finished_plan(run, description or {})
    try:
        metadata = _described(plan, shipped) | _trained(plan, state)
    except (KeyError, TypeError) as error:
        raise UserError(
            f'"{run / "plan.json"}" is damaged ({type(error).__name__}: {error}); train again.'
        ) from error
    metadata["weights_sha256"] = weights_sha256(state["weights"])
    metadata = _complete(with_evidence(metadata, evidence))
    if shipped:
        _check_size(state["weights"], shipped)
    return write_bundle(
        output,
        metadata,
        state["weights"],
        model_card(metadata),
        bundle_licence(metadata),
        inference_config(metadata) if runs_in_monai(metadata) else None,
    )


def _finished_plan(run: Path, description: dict[str, str]) -> Json:
    """The plan of a run with another description. Raises `UserError` as `export_bundle` does."""
    plan = read_plan(run)
    if plan is None:
        raise UserError(
            f'"{run}" holds no finished training (plan.json is missing); run `medllmseg train`'
            " first."
        )
    if description.get("licence"):
        base = _base(plan)
        check_licence(description["licence"], base.get("id", ""), base.get("licence"))
    return plan | description


def is_exported(run, bundle) -> bool:
    """Whether a bundle holds the best weights of a run, with whatever figures have been written
    into it since.
    """
    if not is_bundle(bundle):
        return False
    return read_metadata(Path(bundle)).get("weights_sha256") == weights_sha256(
        load_best(run)["weights"]
    )


def upgrade_bundle(folder, shipped: str | None = None, evidence: Evidence | None = None) -> Path:
    """Bring a bundle's description up to date, with new measurements if there are any; its weights
    are not touched.

    A localizer gets MONAI's fields alone, as its card has its own author. The version is the
    weights', and that of what is made of their answers: only a new calibration changes it.
    """
    bundle, evidence = read_bundle(folder), evidence or Evidence()
    facts = {
        k: v
        for k, v in _facts(shipped).items()
        if evidence.calibration or k not in ("version", "changelog")
    }
    if bundle.metadata["kind"] != "segmenter":
        metadata = {**bundle.metadata, **facts}
        return rewrite_texts(bundle.folder, {**metadata, **monai_fields(metadata)})
    metadata = _complete(
        with_evidence({**bundle.metadata, "parameters": _count(bundle.tensors), **facts}, evidence)
    )
    return rewrite_texts(
        bundle.folder,
        metadata,
        model_card(metadata),
        bundle_licence(metadata),
        inference_config(metadata) if runs_in_monai(metadata) else None,
    )


def is_bundle(folder) -> bool:
    return (Path(folder) / METADATA).is_file()


def _facts(shipped: str | None) -> dict:
    if shipped is not None and shipped not in SHIPPED:
        raise UserError(
            f'"{shipped}" is not one of the models that come with the program'
            f" ({', '.join(SHIPPED)}); leave --as out for a model of your own."
        )
    return dict(SHIPPED[shipped]) if shipped else {}


def _described(plan: dict, shipped: str | None) -> dict:
    """What a model says of itself: the facts of a shipped one, else what its user said when
    training began.
    """
    own = {
        "kind": "segmenter",
        "version": "0.1.0",
        "accept_licence": False,
        RANGE: _range_of(plan),
    }
    if (
        shipped
        and "structures" in plan
        and (len(plan["structures"]), plan.get("anatomy"))
        != (len(_facts(shipped)["structures"]), _facts(shipped)["anatomy"])
    ):
        raise UserError(
            f'This run learnt {", ".join(plan["structures"])}, and "{shipped}" is another model;'
            " leave --as out."
        )
    if (
        shipped or "id" not in plan
    ):  # plans of our first version held no description: there was one model
        return own | _facts(shipped or "hippocampus-t1")
    base = _base(plan)
    anatomy = {"localizer": SHIPPED["hippocampus-t1"]["localizer"]} if plan.get("anatomy") else {}
    return (
        own
        | anatomy
        | {
            "id": plan["id"],
            "title": plan.get("title") or plan["id"],
            "modality": plan.get("modality") or "not stated",
            "anatomy": plan.get("anatomy"),
            "labels": plan.get("labels"),
            "structures": plan["structures"],
            "licence": plan.get("licence") or base.get("licence") or NO_LICENCE,
            "data": plan.get("data") or "not stated",
            "data_note": plan.get("data_note") or "",
            "accept_licence": base.get("accept_licence", False),
            "fine_tuned_from": base or None,
        }
    )


def _range_of(plan: dict) -> Json | None:
    """The spacings and fields of view of the training cases; None where a plan does not hold them.

    Of crops around an organ the spacings alone: the organ is found in a scan of any size.
    """
    cases, chosen = plan.get("fingerprint") or {}, plan.get("plan") or {}
    if "spacings_mm" not in cases:
        return None
    scale = float(chosen.get("scale", 0.0))
    trained = TrainedRange.of_cases(cases["spacings_mm"], cases["sizes_vox"], scale)
    return replace(trained, view_mm=None if plan.get("anatomy") else trained.view_mm).to_dict()


def _base(plan: dict) -> dict:
    """The model that a run began with: its id and licence, which may bind the new one; {} for a
    run from nothing.
    """
    start, known = (
        (plan.get("request") or {}).get("start"),
        plan.get("fine_tuned_from"),
    )  # which older plans do not say
    if known:
        return {
            "id": known["id"],
            "licence": known["licence"],
            "accept_licence": bool(known["accept_licence"]),
        }
    if not start:
        return {}
    try:
        entry = find_model(start)
    except UserError:  # it is gone since: its name must do
        return {"id": str(start), "licence": None, "accept_licence": False}
    return {"id": entry.id, "licence": entry.licence, "accept_licence": entry.accept_licence}


def _trained(plan: dict, state: dict) -> dict:
    config = NetworkConfig.from_dict(plan["network"])
    when = {"step": state["step"]} if "step" in state else {"epoch": state["epoch"]}
    found = {
        FIELD: plan.get(FIELD),  # plans of version 0.4 and before do not say it
        "network": config.to_dict(),
        "training": plan["train"],
        "preprocessing": plan["preprocessing"],
        "parameters": _count(state["weights"]),
        "chosen": {
            **when,
            "val_dice": round(state["val_dice"], 4),
            "trained_on": plan["trained_on"],
            "chosen_on": plan["chosen_on"],
        },
    }
    if "fingerprint" in plan:
        found |= {
            "fingerprint": {**plan["fingerprint"], "ids": []},
            "plan": plan["plan"],
        }  # ids may be patients' names
    if config.llm:
        weights = resolve(config.llm.source, config.llm.layers)
        found |= {
            "llm_sha256": weights.sha256,
            "llm_licence": weights.licence,
            "llm": f"{config.llm.source}, layer {', '.join(map(str, config.llm.layers))}",
        }
    return found


def _count(tensors: dict) -> int:
    return sum(t.numel() for t in tensors.values())


def _complete(metadata: dict) -> dict:
    """With the words for the catalogue and MONAI's fields, which follow from the rest."""
    metadata = {**metadata, "accuracy": accuracy_text(metadata)}
    return {**metadata, **monai_fields(metadata)}


def _check_size(tensors: dict, name: str) -> None:
    size_mb = 2 * _count(tensors) / 1e6
    if size_mb > LIMIT_MB - 0.1:  # a tenth for the texts
        raise UserError(
            f'The weights of "{name}" take {size_mb:.1f} MB, and a bundle that comes with the'
            f" program may have {LIMIT_MB:g} MB; train a smaller network."
        )
