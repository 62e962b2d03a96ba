"""The page's section on how the benchmark was done: data, training, networks and statistics."""

from __future__ import annotations

from MedLLMSegLib.metrics.sign_flips import EXACT_UNITS
from MedLLMSegLib.studies.study.page import NOT_RUN
from MedLLMSegLib.training.optimiser import OPTIMISERS

from .benchmark_plan import LEARNING_RATES, tuning_of
from .benchmark_results import BenchmarkResults
from .corruptions import CORRUPTIONS


def method_section(results: BenchmarkResults, command: str) -> list[str]:
    """The section's paragraphs. command: what was typed to run the benchmark."""
    s, train = results.settings, results.settings["train"]
    sizes = {split: len(ids) for split, ids in s["cases"].items()}
    ours = s["ours"]
    facts = [
        (
            f"Splits: {sizes['train']} cases to train on, {sizes['val']} to choose the weights by,"
            f" {sizes['test']} to test on; no head or patient is in two. A tenth of the cases is"
            " whole heads, drawn by the seed, the same for every arm. The test cases compare the"
            " arms; nothing is chosen on them."
        ),
        (
            f"Every arm: {train['steps']} steps of {OPTIMISERS[train['optimiser']]}, batch"
            f" {train['batch']}, window {' x '.join(map(str, train['window']))} voxels (k, j, i),"
            f" {train['precision']}, cosine schedule with {train['warmup_steps']} steps of warm-up,"
            " the same augmentation, an average of the weights, and the best of the validations on"
            " val."
        ),
        (
            "With one seed, all arms begin with the same weights in the parts that they share, and"
            " see the same samples, changed in the same way, in the same order."
        ),
        _tuning_text(results),
        (
            f"Our network here: stem {', '.join(map(str, ours['stem_channels']))}, width"
            f" {ours['width']}, {ours['depth']} blocks, {ours['heads']} heads; language model"
            f" {ours['llm']['source']}, layer {', '.join(map(str, ours['llm']['layers']))},"
            f" position {ours['llm']['position']}. The paper's plain network as published (patch 8,"
            f" width {s['paper']['width']}, {s['paper']['depth']} blocks, linear decoder), its"
            f" block at the {s['paper']['llm']['position']}."
        ),
        (
            "Dice and HD95 at each scan's own resolution, nothing cleaned up. Intervals: bootstrap"
            " over heads. Tests: paired permutation of the mean over heads, structures, sides and"
            " seeds averaged first; all 2^n ways to choose the signs of the n heads' differences"
            f" are counted, so that p hangs on no draw; of more than {EXACT_UNITS} heads it is"
            " drawn, and ± behind p is its Monte-Carlo standard error. Until version 0.3 they were"
            " Wilcoxon's signed-rank tests. Holm's correction over F against A, C and D, and over"
            " the other arms of a table by themselves. Each comparison's ± is the smallest margin"
            " that its interval excludes: any difference beyond it, either way, lies outside. The"
            " intervals are each for itself and not corrected, so"
            " that one may leave 0 out where no difference counts as shown. Both say how other"
            " heads would change the answer, not how other seeds would: a difference that is sure"
            " over heads can still be luck of the training where the seeds disagree."
        ),
        "Corruptions: " + "; ".join(f"{name}: {what}" for name, what in CORRUPTIONS.items()) + ".",
    ]
    return [
        "## How it was done",
        "\n".join(f"- {fact}" for fact in facts),
        f"```\n{command}\n{command} --measure\n{command} --memory\n```",
        (
            "The first command trains and tests what is not finished and writes this page; it can"
            " be stopped at any moment and goes on where it stopped. `--page` writes the page"
            " alone, from `benchmark-results.json`, which holds every test case's values."
        ),
    ]


def _tuning_text(results: BenchmarkResults) -> str:
    if not results.settings["tune"]:
        return (
            f"The learning rate is {results.settings['train']['lr']:g} for every arm; it was not"
            " tuned for any of them."
        )
    arms = dict.fromkeys(
        (r["run"]["network"], r["run"]["arm"])
        for r in results.runs.values()
        if r["run"]["lr"] is not None
    )
    tuning = tuning_of(results.settings)
    chosen = {f"{n} {a}": tuning.best(f"{n}-{a}", results.runs) for n, a in arms}
    listed = ", ".join(
        f"{name} {NOT_RUN if lr is None else f'{lr:g}'}" for name, lr in chosen.items()
    )
    return (
        "Tuning: every arm tried the learning rates"
        f" {', '.join(f'{lr:g}' for lr in LEARNING_RATES)} with its first seed and took the best on"
        f" val: {listed or NOT_RUN}."
    )
