"""A training run becomes a bundle that says what it is, whose data it saw and what was measured,
and nothing else.
"""

import hashlib
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, Volume, segment
from MedLLMSegLib.anatomy.structures import named_structures
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.cli.bundle import benchmark_finding
from MedLLMSegLib.llm.frozen_weights import trained_tensors
from MedLLMSegLib.llm.store import resolve
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import (
    INFERENCE,
    WEIGHTS,
    read_bundle,
    weights_sha256,
    write_bundle,
)
from MedLLMSegLib.registry.cards import LICENCES
from MedLLMSegLib.registry.catalogue import METADATA, model_entry
from MedLLMSegLib.registry.network_config import OURS
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases
from MedLLMSegLib.registry.segmenter_settings import LARGEST_PART_RULES
from MedLLMSegLib.training.segmenter.bundle.export_segmenter import (
    Evidence,
    export_bundle,
    upgrade_bundle,
)

TINY = replace(OURS, stem_channels=(4, 8, 8), width=24, heads=2, depth=1, llm=None)
WORDS = {"fingerprint": {"ids": ["MUELLER_ANNA"], "spacing_mm": [1, 1, 1]}, "plan": {"batch": 2}}


def stats(mean, low=None, high=None):
    return {"n": 3, "mean": mean, "sd": 0.1, "median": mean, "low": low, "high": high}


@pytest.fixture
def run(tmp_path):
    """A finished training of a user's own model, as `training.session` leaves it."""
    torch.manual_seed(0)
    weights = trained_tensors(build_network(TINY))
    plan = {
        **WORDS,
        "network": TINY.to_dict(),
        "train": {"steps": 20},
        "trained_on": 8,
        "chosen_on": 2,
        "preprocessing": {
            "spacing_mm": [1.0, 1.0, 1.0],
            "axes": "ras",
            "window": [16, 24, 16],
            "normalise": "percentile 0.5-99.5, z-score",
        },
        "request": {"source": "/home/me/secret", "start": None},
        "cases": {"train": ["MAIER_EVA"]},
        "id": "livers",
        "title": "Livers of our ward",
        "modality": "CT",
        "licence": "",
        "data": "",
        "anatomy": None,
        "labels": [s.to_dict() for s in named_structures({1: "liver", 2: "tumour"})],
        "structures": ["liver", "tumour"],
    }
    return write_run(tmp_path / "run", plan, weights)


def write_run(folder, plan, weights, **when):
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan))
    torch.save({"weights": weights, "val_dice": 0.81, **(when or {"step": 20})}, folder / "best.pt")
    return folder


def change(run, **more):
    plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
    (run / "plan.json").write_text(json.dumps({**plan, **more}))


def summary(run, path, after=None, **more):
    """What evaluating the bundle of a run gives. after: the evidence that the bundle had then."""
    bundle = export_bundle(run, path.parent / "measured", evidence=after)
    sha256 = weights_sha256(torch.load(run / "best.pt", weights_only=True)["weights"])
    content = {
        "model": "livers",
        "data": "/home/me/secret/cases",
        "cases": 3,
        "groups": 2,
        "failed": {"MUELLER_ANNA": "empty"},
        "group_of": {"MUELLER_ANNA": "MUELLER"},
        "rule": "a rule",
        "weights_sha256": sha256,
        "measured_model": read_bundle(bundle).measured.sha256,
        "marks": {
            f"MUELLER_{n}": {"scans": [f"00000000000000a{n}"], "persons": []} for n in range(3)
        },
        "structures": {"liver": stats(0.9, 0.85, 0.95), "tumour": stats(None)},
        "mean": stats(0.9, 0.85, 0.95),
        "metrics": {
            "dice": {"liver": stats(0.9, 0.85, 0.95), "tumour": stats(None)},
            "hd95_mm": {"liver": stats(2.345, 2.0, 3.0), "tumour": stats(None)},
        },
        "means": {"dice": stats(0.9, 0.85, 0.95), "hd95_mm": stats(2.345, 2.0, 3.0)},
        **more,
    }
    path.write_text(json.dumps(content))
    return path


def card_of(folder):
    return (folder / "docs/README.md").read_text(encoding="utf-8")


def flat(text):
    return " ".join(text.split())


def test_a_users_model_says_what_its_user_said_and_nothing_of_ours(run, tmp_path):
    folder = export_bundle(run, tmp_path / "bundle")
    entry, about, card = model_entry(folder), read_bundle(folder).metadata, flat(card_of(folder))
    assert (entry.id, entry.title, entry.modality, entry.accuracy) == (
        "livers",
        "Livers of our ward",
        "CT",
        "not measured",
    )
    assert entry.licence == "not stated: yours to decide"
    assert not entry.accept_licence
    assert "No licence has been stated" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "Nothing has been measured yet" in card
    assert "Trained on 8 cases" in card
    assert "step 20, mean Dice 0.810" in card
    assert "It holds no language-model block" in card
    assert "| 2 | Tumour |" in card
    assert about["weights_sha256"] in card
    everything = card + json.dumps(about) + (folder / "LICENSE").read_text(encoding="utf-8")
    for word in (
        "ippocamp",
        "Decathlon",
        "Vanderbilt",
        "localizer",
        "MUELLER",
        "MAIER",
        "secret",
        "share-alike",
    ):
        assert word not in everything, word
    assert about["fingerprint"]["spacing_mm"] == [1, 1, 1]
    assert about["plan"] == {"batch": 2}
    assert about["chosen"] == {"step": 20, "val_dice": 0.81, "trained_on": 8, "chosen_on": 2}


def test_it_segments_and_monai_finds_its_configuration(run, tmp_path):
    folder = export_bundle(run, tmp_path / "bundle")
    scan = Volume(np.random.default_rng(0).normal(size=(20, 30, 20)).astype(np.float32), np.eye(4))
    result = segment(scan, folder, device="cpu")
    assert [s.key for s in result.structures] == [
        "liver",
        "tumour",
    ]
    assert result.labels.array.shape == scan.array.shape
    config = json.loads((folder / INFERENCE).read_text(encoding="utf-8"))
    assert config["inferer"]["roi_size"] == [16, 24, 16]
    assert config["network_def"]["folder"] == "@bundle_root"


def test_everything_that_was_measured_is_in_the_card_without_anyones_name(run, tmp_path):
    temperature = tmp_path / "t.json"
    temperature.write_text('{"temperature": 1.25}')
    results = summary(
        run,
        tmp_path / "s.json",
        after=Evidence(calibration=temperature),
        precision=["bf16"],
        calibration={
            "ece": 0.0123,
            "where": "everywhere",
            "risk_coverage": 0.01,
            "risk_coverage_random": 0.05,
        },
    )
    evidence = Evidence(
        results,
        summary(
            run, tmp_path / "f.json", weights_sha256="other", mean=stats(0.8), cases=80, groups=40
        ),
        temperature,
        "No help could be shown.",
    )
    folder = export_bundle(run, tmp_path / "bundle", evidence=evidence)
    card, about = card_of(folder), read_bundle(folder).metadata
    assert model_entry(folder).accuracy == "mean Dice 0.900 on 3 test cases of 2 patients"
    assert model_entry(folder).accuracy in card
    assert "| Dice | 0.900 (0.850 to 0.950) | - | 0.900 (0.850 to 0.950) |" in card
    assert "| HD95 (mm) | 2.345 (2.000 to 3.000) | - | 2.345 (2.000 to 3.000) |" in card
    for words in (
        "On 3 cases of 2 patients",
        "The network ran in bf16.",
        "Figures of the recipe, not of the weights in this folder",
        "cross-validation over 80 cases of 40 patients",
        "Means over cases",
        "1 cases could not be segmented",
        "divided by 1.250",
        "calibration error 0.0123",
        "0.0100, against 0.0500",
        "--data cases --precision bf16 --calibration --output",
    ):
        assert words in flat(card), words
    assert "No help could be shown" not in card  # this network holds no block
    assert about["calibration"]["temperature"] == 1.25
    assert about["calibration"]["ece"] == 0.0123
    assert about["eval_metrics"] == {"mean_dice": 0.9, "hd95_mm": 2.345, "dice_liver": 0.9}
    assert about["results"]["mean"]["mean"] == 0.9  # where it always stood
    for word in ("MUELLER", "MAIER", "secret"):
        assert word not in card + json.dumps(about), word


def test_of_many_structures_the_table_stands_upright(run, tmp_path):
    keys = {f"part_{n}": stats(0.1 * n) for n in range(1, 9)}
    temperature = tmp_path / "t.json"
    lines = {"17": [0.1, 0.9]}
    temperature.write_text(
        json.dumps({"temperature": 1.0, "dice_lines": lines, "dice_lines_images": 24})
    )
    results = summary(
        run,
        tmp_path / "s.json",
        after=Evidence(calibration=temperature),
        structures=list(keys),
        metrics={"dice": keys},
        structures_asked_for=["deep grey"],
    )
    folder = export_bundle(run, tmp_path / "bundle", evidence=Evidence(results, None, temperature))
    card = card_of(folder)
    assert "| structure | Dice |" in card
    assert "| part_3 | 0.300 " in card and "| mean of structures | 0.900 " in card
    assert "--data cases --structures 'deep grey' --output" in flat(card)
    assert "fitted on 24 synthesised heads" in flat(card)
    assert "The logits are divided" not in card
    assert model_entry(folder).accuracy.startswith("mean Dice 0.900 of 8 structures on 3 test")


def test_figures_over_patients_are_the_models(run, tmp_path):
    by_patient = {
        "group_metrics": {"dice": {"liver": stats(0.8, 0.7, 0.9), "tumour": stats(None)}},
        "group_means": {"dice": stats(0.81, 0.7, 0.9), "hd95_mm": stats(3.0)},
    }
    folder = export_bundle(
        run, tmp_path / "bundle", summary(run, tmp_path / "s.json", **by_patient)
    )
    card, about = card_of(folder), read_bundle(folder).metadata
    assert model_entry(folder).accuracy == "mean Dice 0.810 on 3 test cases of 2 patients"
    assert "| Dice | 0.800 (0.700 to 0.900) | - | 0.810 (0.700 to 0.900) |" in card
    assert "Means over patients" in flat(card)
    assert about["eval_metrics"] == {"mean_dice": 0.81, "hd95_mm": 3.0, "dice_liver": 0.8}


@pytest.mark.parametrize("kept, steps", [(False, 0), ("each", 1), ("together", 1), ("both", 2)])
def test_what_val_said_of_stray_parts_becomes_a_setting(run, tmp_path, kept, steps):
    found = tmp_path / "c.json"
    found.write_text(
        json.dumps(
            {
                "temperature": 1.1,
                "largest_part": {"kept": kept, "dice_all": 0.81, "dice_largest": 0.8246},
            }
        )
    )
    folder = export_bundle(run, tmp_path / "bundle", evidence=Evidence(calibration=found))
    assert read_bundle(folder).metadata["preprocessing"]["keep_largest"] == kept
    assert (folder / INFERENCE).read_text(encoding="utf-8").count(
        "KeepLargestConnectedComponentd"
    ) == steps
    assert ("mean Dice 0.8246 against 0.8100" in flat(card_of(folder))) is bool(kept)
    assert not kept or LARGEST_PART_RULES[kept] in flat(card_of(folder))


def test_figures_of_other_weights_are_refused(run, tmp_path):
    other = summary(run, tmp_path / "s.json", weights_sha256="0")
    (tmp_path / "list.json").write_text("[1]")
    other_calibration = tmp_path / "c.json"
    other_calibration.write_text(json.dumps({"temperature": 1.1, "weights_sha256": "0"}))
    for evidence, words in (
        (Evidence(other), "other weights"),
        (Evidence(tmp_path / "list.json"), "not a summary"),
        (Evidence(tmp_path / "none.json"), "cannot be read"),
        (Evidence(calibration=tmp_path / "list.json"), "temperature"),
        (Evidence(calibration=other_calibration), "fitted for other weights"),
    ):
        with pytest.raises(UserError, match=words):
            export_bundle(run, tmp_path / "bundle", evidence=evidence)
    assert not (tmp_path / "bundle").exists()


SEEN = SeenCases(
    train=Marks(frozenset({"0123456789abcdef"})),
    val=Marks(frozenset(), frozenset({"00000000000000ff"})),
    known=True,
)
NOT_SEEN = "that had no part in training or choosing"


@pytest.mark.parametrize(
    "marks",
    (
        {"scans": ["0123456789abcdef"], "persons": []},
        {"scans": ["fedcba9876543210"], "persons": ["00000000000000ff"]},
    ),
)
def test_figures_of_cases_that_were_seen_are_refused_whatever_they_are_called(run, tmp_path, marks):
    """By image or person, on every way into a bundle; the names of the cases say nothing."""
    change(run, seen=SEEN.to_dict(), cases={"train": ["MAIER_EVA"]})
    ours = {"MAIER_EVA": {"scans": ["fedcba9876543210"], "persons": []}}
    unseen = summary(run, tmp_path / "u.json", cases=1, marks=ours)
    folder = export_bundle(run, tmp_path / "bundle", unseen)
    assert NOT_SEEN in flat(card_of(folder))
    seen = summary(run, tmp_path / "s.json", marks={**ours, "renamed": marks}, ablation=ablation())
    words = 'figures of 1 cases that were trained on or chosen by .* for example "renamed"'
    for evidence in (Evidence(seen), Evidence(ablation=seen)):
        with pytest.raises(UserError, match=words):
            export_bundle(run, tmp_path / "other", evidence=evidence)
        with pytest.raises(UserError, match=words):
            upgrade_bundle(folder, evidence=evidence)
    assert cli.main(["bundle", str(folder), "--results", str(seen)]) == 2


def test_where_it_is_not_known_what_was_seen_nothing_else_is_said(run, tmp_path):
    folder = export_bundle(run, tmp_path / "bundle", summary(run, tmp_path / "s.json"))
    assert NOT_SEEN not in flat(card_of(folder))
    assert "it is not known whether they took part in training" in flat(card_of(folder))
    change(run, seen=SEEN.to_dict())
    nameless = summary(run, tmp_path / "s.json", marks={})
    folder = export_bundle(run, tmp_path / "bundle", nameless)
    assert NOT_SEEN not in flat(card_of(folder))
    begun_unknown = replace(SEEN, known=False)
    change(run, seen=begun_unknown.to_dict())
    folder = export_bundle(run, tmp_path / "bundle", summary(run, tmp_path / "s.json"))
    assert NOT_SEEN not in flat(card_of(folder))


@pytest.mark.parametrize(
    "found",
    (
        {"temperature": 1.5},
        {"temperature": 1.0, "largest_part": {"kept": "each", "dice_all": 1, "dice_largest": 1}},
    ),
)
def test_figures_do_not_survive_a_new_temperature_or_cleaning(run, tmp_path, found):
    measured = summary(
        run,
        tmp_path / "s.json",
        ablation=ablation(),
        calibration={"ece": 0.01, "risk_coverage": 0.1, "risk_coverage_random": 0.5},
    )
    folder = export_bundle(run, tmp_path / "bundle", measured)
    assert read_bundle(folder).metadata["calibration"]["ece"] == 0.01
    (tmp_path / "c.json").write_text(json.dumps(found))
    upgrade_bundle(folder, evidence=Evidence(calibration=tmp_path / "c.json"))
    about = read_bundle(folder).metadata
    assert (about["results"], about["ablation"], about["eval_metrics"]) == (None, None, {})
    assert "ece" not in about["calibration"]
    assert about["accuracy"] == model_entry(folder).accuracy == "not measured"
    assert "Nothing has been measured yet" in card_of(folder)
    with pytest.raises(UserError, match="another calibration or another cleaning"):
        upgrade_bundle(folder, evidence=Evidence(measured))


def test_figures_of_assumed_patients_are_of_cases(run, tmp_path):
    """Where the data name nobody, no card speaks of patients."""
    assumed = "The data name no patients, so each case was taken for a patient of its own."
    results = summary(run, tmp_path / "s.json", groups=3, assumption=assumed, ablation=ablation())
    folder = export_bundle(run, tmp_path / "bundle", results)
    card = flat(card_of(folder))
    assert "3 patients" not in card and "over patients" not in card
    assert assumed in card
    assert model_entry(folder).accuracy == "mean Dice 0.900 on 3 test cases"


def test_lines_of_the_expected_dice_do_not_survive_another_temperature(run, tmp_path):
    """They are lines over the confidence, which the temperature changes."""
    fitted = tmp_path / "c.json"
    lines = {"dice_lines": {"1": [0.1, 0.9]}, "dice_lines_images": 24, "not_fitted": "at its bound"}
    fitted.write_text(json.dumps({"temperature": 1.0, **lines}))
    folder = export_bundle(run, tmp_path / "bundle", evidence=Evidence(calibration=fitted))
    fitted.write_text(json.dumps({"temperature": 1.0}))
    upgrade_bundle(folder, evidence=Evidence(calibration=fitted))
    kept = read_bundle(folder).metadata["calibration"]
    assert kept["dice_lines"] == lines["dice_lines"]
    assert "not_fitted" not in kept
    fitted.write_text(json.dumps({"temperature": 1.3}))
    upgrade_bundle(folder, evidence=Evidence(calibration=fitted))
    assert read_bundle(folder).metadata["calibration"] == {"temperature": 1.3}


def test_a_run_of_other_structures_is_none_of_our_models(run, tmp_path):
    with pytest.raises(
        UserError, match='learnt liver, tumour, and "hippocampus-t1" is another model'
    ):
        export_bundle(run, tmp_path / "bundle", shipped="hippocampus-t1")


def test_words_can_be_corrected(run, tmp_path):
    folder = export_bundle(
        run, tmp_path / "bundle", description={"licence": "CC-BY-4.0", "title": "Livers"}
    )
    assert (model_entry(folder).licence, model_entry(folder).title) == ("CC-BY-4.0", "Livers")
    change(run, fine_tuned_from={"id": "theirs", "licence": "CC-BY-NC-4.0", "accept_licence": True})
    with pytest.raises(UserError, match="binds what is trained from it"):
        export_bundle(run, tmp_path / "bundle", description={"licence": "CC-BY-4.0"})


def test_the_cards_lines_are_even(run, tmp_path):
    folder = export_bundle(run, tmp_path / "bundle", summary(run, tmp_path / "s.json"))
    paragraphs = [
        block.split("\n") for block in card_of(folder).split("\n\n") if block[0] not in "| #"
    ]
    assert paragraphs
    for lines in paragraphs:
        assert max(map(len, lines)) <= 118
        # A line ends only where the next word would not fit.
        for line, following in pairwise(lines):
            assert len(line) + 1 + len(following.split()[0]) > 118, line


def test_a_fine_tuned_model_carries_the_licence_of_its_base(run, tmp_path):
    change(run, request={"start": "hippocampus-t1"})
    folder = export_bundle(run, tmp_path / "bundle")
    assert model_entry(folder).licence == "CC-BY-SA-4.0"
    assert "fine-tuned from `hippocampus-t1` (CC-BY-SA-4.0)" in card_of(folder)
    assert "fine-tuned from the model hippocampus-t1" in (folder / "LICENSE").read_text(
        encoding="utf-8"
    )
    change(
        run,
        request={"start": "/gone"},
        fine_tuned_from={"id": "theirs", "licence": "CC-BY-NC-4.0", "accept_licence": True},
    )
    entry = model_entry(
        export_bundle(run, tmp_path / "bundle")
    )  # the plan remembers, though the model is deleted
    assert entry.licence == "CC-BY-NC-4.0"
    assert entry.accept_licence
    change(run, fine_tuned_from=None)  # older plans do not
    folder = export_bundle(run, tmp_path / "bundle")
    assert "fine-tuned from `/gone` (licence unknown)" in flat(card_of(folder))


CASES = {"ids": [], "spacings_mm": [[3, 1, 1], [2, 1, 1]], "sizes_vox": [[10, 50, 40]] * 2}


@pytest.mark.parametrize(
    "anatomy, view",
    [(None, {"view_mm": [40.0, 62.5]}), ("hippocampus", {})],
    ids=["scans", "crops"],
)
def test_a_users_model_states_the_range_of_its_cases(run, tmp_path, anatomy, view):
    """Of crops no field of view: in use the organ is found in a scan of any size."""
    change(run, fingerprint=CASES, plan={"scale": 0.25}, anatomy=anatomy)
    about = read_bundle(export_bundle(run, tmp_path / "bundle")).metadata
    assert about["trained_range"] == {"pixel_mm": [0.8, 1.25], "slice_mm": [1.6, 3.75], **view}


def test_our_non_commercial_model_is_shown_and_accepted_first(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    change(run, network=replace(TINY, classes=4).to_dict(), structures=["rv", "myo", "lv"])
    torch.save(
        {
            "weights": trained_tensors(build_network(replace(TINY, classes=4))),
            "val_dice": 0.9,
            "step": 3,
        },
        run / "best.pt",
    )
    folder = export_bundle(run, tmp_path / "bundle", shipped="cardiac-cine-mr")
    entry, card, licence = (
        model_entry(folder),
        flat(card_of(folder)),
        (folder / "LICENSE").read_text(encoding="utf-8"),
    )
    assert entry.id == "cardiac-cine-mr"
    assert entry.accept_licence
    assert entry.licence == "CC-BY-NC-SA-4.0"
    assert "ACDC" in licence
    assert "for NonCommercial purposes only" in licence
    assert "non-commercial" in card
    assert "1.5 mm in the plane was assumed" in card
    scan = Volume(np.random.default_rng(0).normal(size=(20, 30, 20)).astype(np.float32), np.eye(4))
    with pytest.raises(UserError, match="accepted before its first use"):
        segment(scan, folder, device="cpu")
    with pytest.raises(UserError, match="leave --as out"):
        export_bundle(run, tmp_path / "other", shipped="spleen")


def test_every_licence_that_a_shipped_model_names_is_there_in_full():
    for name, words in (
        ("CC-BY-SA-4.0", "Attribution-ShareAlike 4.0"),
        ("CC-BY-NC-SA-4.0", "Attribution-NonCommercial-ShareAlike 4.0"),
    ):
        text = (LICENCES / f"{name}.txt").read_text(encoding="utf-8")
        assert text.startswith(f"Creative Commons {words} International")
        assert len(text) > 18000


def test_a_run_of_the_first_version_is_the_hippocampus_model(tmp_path):
    plan = {
        "network": TINY.to_dict(),
        "train": {"epochs": 2},
        "trained_on": 4,
        "chosen_on": 1,
        "preprocessing": {
            "spacing_mm": 1.0,
            "search_shape": [48, 64, 48],
            "margin_low_vox": [5, 5, 6],
            "margin_high_vox": [5, 6, 8],
            "plausible_ml": [1.2, 8.8],
        },
    }
    run = write_run(tmp_path / "old", plan, trained_tensors(build_network(TINY)), epoch=24)
    folder = export_bundle(run, tmp_path / "bundle")
    about = read_bundle(folder).metadata
    assert (about["id"], about["anatomy"], about["localizer"]) == (
        "hippocampus-t1",
        "hippocampus",
        "brain-t1-localizer",
    )
    assert "epoch 24, mean Dice 0.810" in flat(card_of(folder))
    assert "EitherWayInferer" in (folder / INFERENCE).read_text(encoding="utf-8")


def test_a_bundle_that_holds_a_block_says_what_was_found_of_it(tmp_path, run):
    config = replace(TINY, llm=OURS.llm)
    weights = resolve(config.llm.source, config.llm.layers)
    change(run, network=config.to_dict())
    torch.save(
        {"weights": trained_tensors(build_network(config, weights)), "val_dice": 0.8, "step": 3},
        run / "best.pt",
    )
    folder = export_bundle(run, tmp_path / "bundle")
    about = read_bundle(folder).metadata
    assert about["llm_sha256"] == weights.sha256
    assert "was not tested for this model" in flat(card_of(folder))
    assert not [
        name for name in read_bundle(folder).tensors if name.startswith("llm.llm")
    ]  # never the language model's
    folder = export_bundle(
        run, tmp_path / "bundle", evidence=Evidence(finding="No help could be shown.")
    )
    assert "No help could be shown." in card_of(folder)
    assert "was not tested" not in card_of(folder)


def test_the_benchmarks_answer_goes_into_the_card(tmp_path):
    """Four cases of two heads; F above A, C and D in each: too few to show anything, which is
    what is said.
    """
    cases = [f"case{n}" for n in range(4)]
    arms = {"A": 0.80, "C": 0.82, "D": 0.81, "F": 0.85}
    runs = {
        f"ours-{arm}-100-0": {
            "test": {"clean": {case: {"dice": [dice + 0.01 * n]} for n, case in enumerate(cases)}}
        }
        for arm, dice in arms.items()
    }
    results = {
        "settings": {"seeds": [0], "cases": {"test": cases}},
        "structures": ["liver"],
        "runs": runs,
        "groups": {case: f"head{n // 2}" for n, case in enumerate(cases)},
    }
    path = tmp_path / "benchmark-results.json"
    path.write_text(json.dumps(results))
    text = benchmark_finding(path)
    assert "No help could be shown" in text
    assert "+0.0500" in text
    assert "+0.0300" in text
    assert "+0.0400" in text
    assert "tenth" not in text
    results["runs"] |= {name.replace("100", "10"): run for name, run in results["runs"].items()}
    path.write_text(json.dumps(results))
    assert "With a tenth of the training cases: No help could be shown." in benchmark_finding(path)
    del results["runs"]["ours-D-100-0"]
    path.write_text(json.dumps(results))
    assert "not answered yet" in benchmark_finding(path)
    for content in ("{}", "[", "[]"):
        path.write_text(content)
        with pytest.raises(UserError, match="no results of"):
            benchmark_finding(path)


def test_an_upgrade_writes_the_texts_anew_and_leaves_the_weights(run, tmp_path, capsys):
    folder = export_bundle(run, tmp_path / "bundle")
    first = read_bundle(folder).metadata
    (folder / INFERENCE).unlink()
    for name in ("monai_version", "network_data_format"):
        first.pop(name)
    (folder / METADATA).write_text(json.dumps(first))
    before = (folder / WEIGHTS).stat()
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    results = summary(run, tmp_path / "s.json")
    assert cli.main(["bundle", str(folder), "--results", str(results)]) == 0
    after = (folder / WEIGHTS).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (
        hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        == digest
        == read_bundle(folder).metadata["weights_sha256"]
    )
    assert (folder / INFERENCE).exists()
    assert "monai_version" in read_bundle(folder).metadata
    assert "0.900 (0.850 to 0.950)" in card_of(folder)
    upgrade_bundle(folder)
    assert "0.900 (0.850 to 0.950)" in card_of(folder)  # what was measured stays
    assert cli.main(["bundle", str(folder), "--output", str(tmp_path / "x")]) == 2
    assert "leave --output out" in capsys.readouterr().err


def ablation(mean=0.9, change=-0.0008):
    return {
        "whole": stats(mean, 0.85, 0.95),
        "parts": {
            "no_tokens": stats(mean + change, 0.84, 0.94)
            | {"change": {"mean": change, "low": -0.002, "high": 0.0003, "p": 0.5}}
        },
        "left_out": {"no_language_model": "the network holds no language-model block"},
    }


def test_what_the_parts_give_goes_into_the_card(run, tmp_path, capsys):
    """The ablation alone: the results that were measured before stay."""
    folder = export_bundle(run, tmp_path / "bundle", summary(run, tmp_path / "s.json"))
    assert "What its parts give" not in card_of(folder)
    other = summary(
        run,
        tmp_path / "a.json",
        ablation=ablation(),
        means={"dice": stats(0.1)},
        precision=["fp32"],
    )
    assert cli.main(["bundle", str(folder), "--ablation", str(other)]) == 0
    about, card = read_bundle(folder).metadata, flat(card_of(folder))
    assert "the model as it is 0.9000 (0.8500 to 0.9500)" in card
    assert "tokens set to zero, so that the convolutions alone see the scan, 0.8992" in card
    assert "a change of -0.0008 (-0.0020 to +0.0003)" in card
    assert "The network ran in fp32." in card
    assert "--ablate" in card
    assert "bypassed" not in card  # it has no language model
    assert about["results"]["means"]["dice"]["mean"] == 0.9
    assert about["ablation"]["data"] == "cases"  # and not where they lie
    upgrade_bundle(folder)
    assert "-0.0008" in card_of(folder)

    with_results = summary(run, tmp_path / "b.json", ablation=ablation(change=-0.5))
    upgrade_bundle(folder, evidence=Evidence(results=with_results))
    assert "-0.5000" in card_of(folder)
    assert "ablation" not in read_bundle(folder).metadata["results"]


def test_a_card_names_the_structures_that_an_ablation_was_measured_on(run, tmp_path):
    folder = export_bundle(run, tmp_path / "bundle")
    some = summary(
        run,
        tmp_path / "a.json",
        ablation=ablation(),
        structures_asked_for=["deep grey", "liver"],
    )
    assert cli.main(["bundle", str(folder), "--ablation", str(some)]) == 0
    card = flat(card_of(folder))
    assert "What its parts give, in mean Dice of deep grey, liver on the 3 test" in card
    assert "--ablate --structures 'deep grey,liver' --output" in card


def test_an_ablation_of_other_weights_or_none_at_all_is_refused(run, tmp_path):
    folder = export_bundle(run, tmp_path / "bundle")
    other = summary(run, tmp_path / "a.json", ablation=ablation(), weights_sha256="0" * 64)
    with pytest.raises(UserError, match="other weights"):
        upgrade_bundle(folder, evidence=Evidence(ablation=other))
    plain = summary(run, tmp_path / "b.json")
    with pytest.raises(UserError, match="holds no ablation"):
        upgrade_bundle(folder, evidence=Evidence(ablation=plain))
    assert read_bundle(folder).metadata["ablation"] is None


def test_large_bundles_are_told_of_and_not_shipped(run, tmp_path, capsys):
    big = {
        **torch.load(run / "best.pt", weights_only=True),
        "weights": {"w": torch.zeros(5_100_000)},
    }
    torch.save(big, run / "best.pt")
    assert cli.main(["bundle", str(run), "--output", str(tmp_path / "bundle")]) == 0
    assert "10.2 MB" in capsys.readouterr().err
    change(run, structures=["rv", "myo", "lv"])
    with pytest.raises(UserError, match="train a smaller network"):
        export_bundle(run, tmp_path / "other", shipped="cardiac-cine-mr")
    assert not (tmp_path / "other").exists()


def test_bad_runs_and_places_are_named(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not a model bundle"):
        export_bundle(run, tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").exists()
    with pytest.raises(UserError, match="no finished training"):
        export_bundle(tmp_path, tmp_path / "other")
    (run / "plan.json").write_text(json.dumps({"settings": {}}))
    with pytest.raises(UserError, match="damaged"):
        export_bundle(run, tmp_path / "other")


def test_a_bundle_replaced_by_a_smaller_one_keeps_nothing_of_the_old(run, tmp_path):
    folder = export_bundle(run, tmp_path / "bundle")
    write_bundle(
        folder, read_bundle(folder).metadata, read_bundle(folder).tensors, "card", "licence"
    )
    assert not (folder / INFERENCE).exists()
    assert card_of(folder) == "card"
