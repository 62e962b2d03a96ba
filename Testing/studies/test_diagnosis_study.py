"""A study at toy size: it can be stopped and goes on, tunes on val alone, and its page says what
was and was not run.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError
from MedLLMSegLib.core.errors import TimeIsUp
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, EncoderConfig
from MedLLMSegLib.studies.diagnosis import classifier_study as study_module
from MedLLMSegLib.studies.diagnosis.arms import CONTROLS, MAIN, cxr_arms
from MedLLMSegLib.studies.diagnosis.baselines import best_logistic
from MedLLMSegLib.studies.diagnosis.classifier_study import COLLECTED, ClassifierStudy
from MedLLMSegLib.studies.diagnosis.diagnosis_cost import measure_study
from MedLLMSegLib.studies.diagnosis.page.study_page import _shown, page, write_page
from MedLLMSegLib.studies.diagnosis.page.study_summary import summarise, verdict
from MedLLMSegLib.studies.diagnosis.study_runs import Arm, answer_of
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.studies.study.runs import Run
from MedLLMSegLib.training.classifier.classifier_recipe import ClassifierLoop
from MedLLMSegLib.training.classifier.examples import Examples
from Testing.helpers.places import ROOT

SIZE = 16


def part(count, seed):
    rng = np.random.default_rng(seed)
    target = torch.arange(count) % 2
    image = torch.from_numpy(rng.normal(size=(count, 1, SIZE, SIZE))).half()
    image[target == 1, :, 4:12, 4:12] += 1
    return Examples(
        {"image": image},
        target,
        tuple(f"{seed}-{n}" for n in range(count)),
        tuple(f"{seed}-{n // 2}" for n in range(count)),
    )


def baseline(train, val, test, seed):
    pixels = [p.fields["image"].float().flatten(1).numpy() for p in (train, val, test)]
    return best_logistic(pixels[0], train.target.numpy(), pixels[1], val.target.numpy(), pixels[2])


def study_of(folder, seeds=(0, 1), rates=(1e-3, 3e-3), **loop):
    encoder = EncoderConfig("cnn", image_size=SIZE, width=8, frozen=True)
    config = ClassifierConfig("mlp", ("no", "yes"), encoder, hidden=8)
    arms = {
        "main": Arm("the main one", config),
        "linear": Arm("a probe", replace(config, kind="linear")),
        "part": Arm("a part taken out", replace(config, hidden=4), like="main"),
        "plain": Arm("a baseline", baseline=baseline),
    }
    parts = {
        name: part(count, n)
        for n, (name, count) in enumerate((("train", 16), ("val", 12), ("test", 20)))
    }
    return ClassifierStudy(
        "cxr",
        arms,
        ClassifierLoop(**{"epochs": 2, "batch": 8, "views": 2, **loop}),
        seeds,
        rates,
        parts,
        folder / "runs",
        StudyResults(folder / "docs/results.json"),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    one = study_of(folder)
    one.study.run()
    return one, summarise(one, "main", ("linear",), {"half": ["a", "b"] * 10}, ("main",))


def test_every_run_is_done_once_and_nothing_twice(finished, monkeypatch):
    one, _ = finished
    runs = one.results.runs
    assert set(runs) == {
        "main-0",
        "main-1",
        "linear-0",
        "linear-1",
        "part-0",
        "part-1",
        "plain-0",
        "tune-main-lr0.001",
        "tune-main-lr0.003",
        "tune-linear-lr0.001",
        "tune-linear-lr0.003",
    }
    assert one.study.run() == []
    monkeypatch.setattr(
        study_module, "build_classifier", lambda config: pytest.fail("trained again")
    )
    assert study_of(one.output.parent).study.run() == []


def test_the_tuning_never_sees_the_test_cases_and_chooses_by_val(finished):
    one, _ = finished
    runs = one.results.runs
    assert not any("test" in runs[name] for name in runs if name.startswith("tune-"))
    best = max((1e-3, 3e-3), key=lambda lr: runs[f"tune-main-lr{lr:g}"]["val_auc"])
    assert {runs[name]["lr"] for name in ("main-0", "main-1", "part-0", "part-1")} == {best}
    assert (
        runs["main-0"]["val_auc"] == runs[f"tune-main-lr{best:g}"]["val_auc"]
    )  # the very same training, not done again
    assert not (one.output / "main-0" / "last.pt").exists()


def test_a_stopped_study_goes_on_to_the_same_results(finished, tmp_path):
    one, _ = finished
    other = study_of(tmp_path)
    count = 0

    def stop(text, fraction):
        nonlocal count
        count += 1
        if count % 7 == 0:
            raise TimeIsUp("enough")

    for _ in range(50):
        try:
            other = study_of(tmp_path)
            other.study.run(progress=stop)
            break
        except TimeIsUp:
            pass
    assert without_seconds(other) == without_seconds(one)


def test_an_arm_that_is_tuned_later_runs_anew_where_its_rate_was_another(tmp_path):
    """Results from when it took the main arm's rate are no longer those of its own."""
    one = study_of(tmp_path, seeds=(0,))
    one.study.run()
    assert "notes" in summarise(one, "main", ("linear",))
    runs = one.results.runs
    own, other = (runs[f"{name}-0"]["lr"] for name in ("linear", "part"))
    one.arms["part"] = replace(one.arms["part"], like="")
    notes = summarise(one, "main", ("linear",))["notes"]
    assert notes["part"] == f"at the learning rate {other:g}, none was tuned for it"
    assert notes["plain"].startswith("no temperature could be fitted")  # it is right throughout
    assert one.results.runs["plain-0"]["temperature"] is None
    assert one.study.is_finished(Run("part", 0))
    worse = {"val_auc": runs["part-0"]["val_auc"] - 1, "lr": other}
    rates = [lr for lr in one.rates if lr != other]
    better = {f"tune-part-lr{lr:g}": {"val_auc": 1.0, "lr": lr} for lr in rates}
    one.results.add({f"tune-part-lr{other:g}": worse, **better})
    assert not one.study.is_finished(Run("part", 0))
    assert "part" not in summarise(one, "main", ("linear",))["notes"]
    assert one.study.run() == ["part-0"]
    assert one.results.runs["part-0"]["lr"] == rates[0]
    assert one.results.runs["linear-0"]["lr"] == own


def without_seconds(study):
    return {
        name: {key: value for key, value in result.items() if key != "seconds"}
        for name, result in study.results.runs.items()
    }


def test_minutes_stop_it(tmp_path):
    with pytest.raises(TimeIsUp, match="0 minutes are over"):
        study_of(tmp_path).study.run(minutes=0)


def test_one_arm_with_what_it_waits_for(tmp_path):
    one = study_of(tmp_path, seeds=(0,))
    assert [run.name for run in one.study.chosen("part")] == [
        "tune-main-lr0.001",
        "tune-main-lr0.003",
        "part-0",
    ]
    with pytest.raises(UserError, match="has not been chosen yet"):
        one.study.rate(Run("part", 0))
    with pytest.raises(UserError, match='No run is called "nothing"'):
        one.study.chosen("nothing")


def test_results_of_other_settings_are_refused(finished):
    one, _ = finished
    with pytest.raises(UserError, match=r"with loop\.epochs = 2, and 5"):
        ClassifierStudy(
            "cxr",
            one.arms,
            ClassifierLoop(epochs=5),
            one.seeds,
            one.rates,
            one.splits,
            one.output,
            StudyResults(one.results.path),
        )


def test_the_answers_are_of_the_test_cases_in_their_order(finished):
    one, summary = finished
    probabilities, threshold = answer_of(one.results.runs["plain-0"])
    assert probabilities.shape == (20, 2)
    assert np.allclose(probabilities.sum(1), 1)
    assert 0 <= threshold <= 1
    assert summary["arms"]["plain"]["missing"] == 0
    assert summary["arms"]["main"]["missing"] == 0
    assert summary["test_patients"] == 10
    assert [r["n"] for r in summary["arms"]["main"]["subgroups"]] == [10, 10]


def test_the_verdict_follows_from_the_tests_alone(finished):
    _, summary = finished
    test = {"value": 0.1, "low": 0.01, "high": 0.2, "p": 0.01, "p_holm": 0.02, "seeds": [0.1, 0.1]}

    def judged(**changed):
        against = {**summary["against"], "linear": {**test, **changed}}
        return verdict({**summary, "against": against})

    assert judged() == "helps"
    assert judged(p_holm=0.05) == "not shown"
    assert judged(value=-0.1) == "not shown"
    assert judged(p_holm=None) == "not shown"
    partial = {
        **summary,
        "arms": {**summary["arms"], "linear": {**summary["arms"]["linear"], "missing": 1}},
    }
    assert verdict(partial) == "not run"
    assert verdict({**summary, "against": {}}) == "not run"


def test_holm_runs_over_each_family(finished):
    against = finished[1]["against"]
    assert against["linear"]["p_holm"] == against["linear"]["p"]  # alone in the family of controls
    others = sorted((against[n] for n in ("part", "plain")), key=lambda t: t["p"])
    assert others[0]["p_holm"] == pytest.approx(min(1, 2 * others[0]["p"]))


def test_the_page_says_what_was_run_and_what_was_not(finished, tmp_path):
    one, summary = finished
    text = write_page(one.results, tmp_path).read_text(encoding="utf-8")
    value = summary["arms"]["main"]["figures"]["auc"]["value"]
    assert f"{value:.3f}" in text
    assert "Does the frozen language model help?" in text
    section = text.split("## Nodule patches")[1].split("## ")[0]
    assert section.strip().endswith("Not run.")
    assert "Not run." not in text.split("## Chest X-rays")[1].split("## ")[0]
    empty = page(StudyResults(tmp_path / "none.json"))
    assert "Not answered yet" in empty
    assert empty.count("Not run.") == 5


def test_the_page_names_what_is_better_and_worse_by_the_tests_alone(finished):
    one, summary = finished

    def test(value, p, seeds):
        interval = {"low": value - 0.1, "high": value + 0.1}
        return {"value": value, **interval, "p": p, "p_holm": p, "seeds": seeds}

    against = {
        "linear": test(0.1, 0.01, [0.3, -0.1]),
        "part": test(-0.1, 0.04, [-0.1, -0.1]),
        "plain": test(-0.3, 0.05, [-0.3, -0.3]),
    }
    assert _shown({**summary, "against": against}) == [
        "By these tests (p < 0.05), compared with `main`, better: `part` (in 2 of 2 seeds); worse:"
        " `linear` (in 1 of 2 seeds). Of no other arm is either shown."
    ]
    none = _shown({**summary, "against": {"plain": against["plain"]}})
    assert "better: none; worse: none" in none[0]
    assert none[0] in page(_with(one.results, {**summary, "against": {"plain": against["plain"]}}))


def _with(results, summary):
    """The results with another summary, in a file beside theirs."""
    whole = json.loads(results.path.read_text(encoding="utf-8"))
    whole["cxr"]["summary"] = summary
    path = results.path.with_name("other.json")
    path.write_text(json.dumps(whole))
    return StudyResults(path)


def test_a_page_of_half_a_study(tmp_path):
    one = study_of(tmp_path, seeds=(0, 1))
    one.study.run("linear-0")
    summary = summarise(one, "main", ("linear",))
    text = page(one.results)
    assert verdict(summary) == "not run"
    assert "trainings of main, linear are not run" in text
    assert "(1 not run)" in text
    assert "| `main` the main one | not run |" in text


def test_the_arms_of_the_issue_are_all_there_and_differ_in_one_thing():
    arms = cxr_arms(("no", "yes"))
    main = arms[MAIN].config

    def changed(name):
        part = vars(arms[name].config.pneumollm)
        return {key for key, value in part.items() if value != getattr(main.pneumollm, key)}

    assert {
        name: changed(name)
        for name in (
            "random",
            "no-emitter",
            "no-engine",
            "no-adapters",
            "tokens-1",
            "tokens-2",
            "tokens-8",
            "depth-1",
            "depth-30",
            "no-llm",
        )
    } == {
        "random": {"llm_weights"},
        "no-emitter": {"emitter"},
        "no-engine": {"token_engine"},
        "no-adapters": {"adapters"},
        "tokens-1": {"tokens"},
        "tokens-2": {"tokens"},
        "tokens-8": {"tokens"},
        "depth-1": {"llm"},
        "depth-30": {"llm"},
        "no-llm": {"llm"},
    }
    assert main.pneumollm.tokens == 4
    assert len(main.pneumollm.llm.layers) == 4
    assert len(arms["depth-30"].config.pneumollm.llm.layers) == 30
    assert arms["linear"].config.encoder == main.encoder == arms["mlp"].config.encoder
    assert main.encoder.frozen
    assert arms["fine-tuned"].config == replace(
        arms["linear"].config, encoder=replace(main.encoder, frozen=False)
    )
    assert arms["small-cnn"].config.encoder == arms["small-cnn-linear"].config.encoder
    assert arms["text"].config.kind == "text"
    assert set(CONTROLS) <= set(arms)
    assert not any(arms[control].like for control in CONTROLS)  # each with a rate of its own


def test_each_seed_has_its_own_random_language_model(tmp_path, monkeypatch):
    one = study_of(tmp_path, seeds=(0, 1))
    seen = []
    monkeypatch.setattr(study_module, "build_classifier", seen.append)
    one.arms = {"random": cxr_arms(("no", "yes"))["random"]}
    for seed in (0, 1):
        one.network_of(Run("random", seed))
    assert [c.pneumollm.llm_seed for c in seen] == [0, 1]


def test_logistic_regression_takes_its_penalty_from_val():
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 2
    x = rng.normal(size=(60, 5)) + 2 * truth[:, None] * np.eye(5)[0]
    x[3, 2] = np.nan
    val, test = best_logistic(x[:30], truth[:30], x[30:45], truth[30:45], x[45:])
    assert val.shape == test.shape == (15, 2)
    assert (test.argmax(1) == truth[45:]).mean() > 0.7


def blank(part):
    return replace(part, fields={"image": torch.zeros_like(part.fields["image"])})


def test_arms_that_see_other_images_share_no_tokens(tmp_path):
    one = study_of(tmp_path, seeds=(0,), rates=(1e-3,))
    main = one.arms["main"]
    one.arms = {
        "main": replace(main, view=lambda part: part),
        "blind": replace(main, view=blank),
    }
    one.study.run()
    assert (
        len(set(one.results.runs["blind-0"]["test"]))
        == 1
        < len(set(one.results.runs["main-0"]["test"]))
    )


@pytest.mark.slow
def test_time_and_memory_are_measured_in_a_process_of_its_own(tmp_path):
    one = study_of(tmp_path, seeds=(0,))
    one.arms = {"main": one.arms["main"], "plain": one.arms["plain"]}
    found = measure_study(one)
    assert set(found) == {"main"}
    assert found["main"]["step_seconds"] > 0
    assert found["main"]["image_ms"] > 0
    assert found["main"]["peak_mb"] > found["main"]["before_mb"] > 50
    assert found["main"]["parameters"]["frozen"] > 0
    assert one.results.get("measured") == found


def test_a_loss_to_a_control_is_said(finished):
    one, summary = finished
    lost = {
        "value": -0.1,
        "low": -0.2,
        "high": -0.05,
        "p": 0.001,
        "p_holm": 0.001,
        "seeds": [-0.1, -0.1],
    }
    against = {**summary["against"], "linear": lost}
    results = _with(one.results, {**summary, "against": against})
    assert "No: on these X-rays PneumoLLM is worse than the a probe." in page(results)


def test_the_page_in_the_docs_is_that_of_the_stored_results():
    kept = (ROOT / "docs/diagnosis.md").read_text(encoding="utf-8")
    assert page(StudyResults(ROOT / "docs" / COLLECTED)) == kept
