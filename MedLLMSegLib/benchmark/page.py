"""docs/benchmark.md: generated from the finished runs, "not run" for what is not."""
from __future__ import annotations

from pathlib import Path

from ..compare import Comparison
from ..markdown import p_value, signed, table
from ..networks.controls import ARMS
from ..outputs import write_text
from .answer import CONTROLS, NAMES, Answer, Figure, Key, answer, family, figure, headline, seed_differences
from .corruptions import CORRUPTIONS
from .plan import LEARNING_RATES, ROBUST_ARMS, Run
from .results import Results, choose_learning_rate

NOT_RUN = "not run"
DIGITS = 4  # of a Dice
OURS = (("ours", "A"), ("ours", "C"), ("ours", "D"), ("ours", "F"), ("ours", "I"), ("dynunet", "J"))
WITH_BLOCK = ("F", "I", "F-nolocal", "F-nofusion")  # the arms of the plan that hold the pretrained block
EXTRA = ("B", "E", "G", "H-head", "H-middle", "H-tail", "H-layer0", "H-layer12")  # shown where they were run
PAPER = (("paper", "A"), ("paper", "D"), ("paper", "F"))
UNTRAINED = 0.1  # of Dice below our network, with the same data and steps


def write_page(results: Results, docs: Path, command: str) -> Path:
    """Write benchmark.md and its plot into a folder. command: what was typed to run the benchmark."""
    from .plot import draw

    draw(results, docs / "images" / "benchmark.png")
    return write_text(docs / "benchmark.md", page(results, command))


def page(results: Results, command: str) -> str:
    """The whole page as Markdown."""
    parts = [
        "# Does the language-model block help?", *_answer_lines(results), "![Dice of the arms, and how far F is from each]"
        "(images/benchmark.png)", *_network_section(results, "Our network, all training cases", OURS, 100),
        *_network_section(results, "Our network, a tenth of the training cases", OURS, 10),
        *_network_section(results, "The paper's plain network, all training cases", PAPER, 100),
        *_ablations(results), *_robustness(results), *_left_out(results), *_costs(results), *_memory(results),
        *_how(results, command)]
    return "\n\n".join(parts) + "\n"


def _answer_lines(results: Results) -> list[str]:
    found = answer(results)
    lines = [f"**{headline(found)}** {_explained(results, found)}", *_against(found)]
    for title, network, percent, controls in (("With a tenth of the training cases", "ours", 10, CONTROLS),
                                              ("In the paper's plain network", "paper", 100, ("A", "D"))):
        other = answer(results, network, percent, controls)
        said = f" **{headline(other)}**" if not other.missing and controls == CONTROLS else ""
        lines += ([f"{title}: {NOT_RUN}."] if other.missing else
                  [f"{title}{_reached(results, network, percent)}:{said}", *_against(other)])
    return lines


def _reached(results: Results, network: str, percent: int) -> str:
    """How good a network's F is, and that it says little where it is far from trained."""
    found, ours = (figure(results, Key(*key)) for key in ((network, "F", percent), ("ours", "F", 100)))
    far = ours is not None and ours.mean - found.mean > UNTRAINED
    return (f", F has a mean Dice of {found.mean:.4f}" + (f" (ours, in as many steps, {ours.mean:.4f}): it is far from trained, and "
            "what the block does for it later was not measured" if far else ""))


def _explained(results: Results, found: Answer) -> str:
    if found.missing:
        total = len(results.settings["seeds"]) * (1 + len(CONTROLS))
        return (f"{len(found.missing)} of the {total} trainings that answer it are {NOT_RUN}: {', '.join(found.missing)}. "
                "What is finished stands below; no part of it is an estimate.")
    f, cases = figure(results, Key("ours", "F", 100)), results.settings["cases"]["test"]
    heads = len({results.groups[c] for c in cases})
    return (f"\"The language model helps\" was to mean that our network with the frozen pretrained block (F) is better than both "
            f"the trainable MLP (C) and the frozen random block (D); that is {'so' if found.verdict == 'helps' else 'not shown'} "
            f"here. F has a mean Dice of {f.mean:.4f} ({_interval(f)}) on {len(cases)} test cases of {heads} heads or patients, "
            f"{len(f.seeds)} seeds averaged.")


def _against(found: Answer) -> list[str]:
    """F against each control, a line each."""
    if found.missing:
        return []
    lines = [f"- against {NAMES[arm]} ({arm}): {_standing(test)}, {signed(test.difference, DIGITS)} Dice ({_interval(test)}, "
             f"{p_value(test.p_holm, 'p')}; seed by seed {', '.join(signed(v, DIGITS) for v in found.by_seed[arm].values())}"
             f"{': the seeds disagree' if found.disagree(arm) else ''})" for arm, test in found.tests.items()]
    return ["\n".join(lines)]


def _standing(test: Comparison) -> str:
    return {test.first: "better", test.second: "worse"}.get(test.better, "no difference shown")


def _interval(x: Figure | Comparison) -> str:
    return f"95 % {x.low:.4f} to {x.high:.4f}"


def _network_section(results: Results, title: str, arms, percent: int) -> list[str]:
    """Dice and HD95 of each arm, and F against it."""
    f, keys, tests = _section_tests(results, arms, percent)
    columns = [f"dice_{name}" for name in results.structures]
    head = ["arm", "Dice (95 % over heads)", "each seed", *(f"Dice {n}" for n in results.structures), "HD95 (mm)",
            "F minus this arm (95 %)", "p (Holm)"]
    rows = [_arm_row(results, key, f, tests.get((f, key)), columns) for key in keys]
    return [f"## {title}", table(head, rows), *_notes(tests.values())]


def _section_tests(results: Results, arms, percent: int) -> tuple[Key, list[Key], dict]:
    """F, all arms that are shown, and F against each: its controls are one family, the other arms another."""
    if arms[0][0] == "ours":
        arms = [*arms, *(("ours", arm) for arm in EXTRA if figure(results, Key("ours", arm, percent)))]
    f = Key("ours" if arms[0][0] == "ours" else "paper", "F", percent)
    keys = [Key(network, arm, percent) for network, arm in arms]
    main = [k for k in keys if k.arm in CONTROLS]
    others = [k for k in keys if k not in main and k != f]
    return f, keys, family(results, [(f, k) for k in main]) | family(results, [(f, k) for k in others])


def _arm_row(results: Results, key: Key, f: Key, test: Comparison | None, columns: list[str]) -> list[str]:
    found = figure(results, key)
    name = f"{key.arm}: {ARMS[key.arm]}"
    if found is None:
        return [name, *[NOT_RUN] * (len(columns) + 3), *(["", ""] if key == f else [NOT_RUN] * 2)]
    planned = len(results.settings["seeds"])
    seeds = ", ".join(f"{v:.4f}" for v in found.seeds.values())
    if len(found.seeds) < planned:
        seeds += f" ({planned - len(found.seeds)} {NOT_RUN})"
    values = [f"{figure(results, key, c).mean:.4f}" for c in columns] + [f"{figure(results, key, 'hd95_mm').mean:.2f}"]
    return [name, f"{found.mean:.4f} ({found.low:.4f} to {found.high:.4f})", seeds, *values, *_difference(key == f, test)]


def _difference(is_f: bool, test: Comparison | None) -> list[str]:
    if is_f:
        return ["", ""]
    if test is None:
        return [NOT_RUN] * 2
    return [f"{signed(test.difference, DIGITS)} ({signed(test.low, DIGITS)} to {signed(test.high, DIGITS)})",
            p_value(test.p_holm) + (f", {test.better} better" if test.better else "")]


def _notes(tests) -> list[str]:
    """What the tests want known, such as too few pairs."""
    notes = [f"F against {t.second}: {t.note}." for t in tests if t.note]
    return [" ".join(notes)] if notes else []


def _ablations(results: Results) -> list[str]:
    f = Key("ours", "F", 100)
    keys = [Key("ours", arm, 100) for arm in ("F-nolocal", "F-nofusion")]
    tests = family(results, [(f, k) for k in keys])
    columns = [f"dice_{name}" for name in results.structures]
    head = ["arm", "Dice (95 % over heads)", "each seed", *(f"Dice {n}" for n in results.structures), "HD95 (mm)",
            "F minus this arm (95 %)", "p (Holm)"]
    return ["## Without the local branch, without the fusion",
            "Both are our own design, as the paper gives no formula for either. All training cases.",
            table(head, [_arm_row(results, k, f, tests.get((f, k)), columns) for k in (f, *keys)])]


def _robustness(results: Results) -> list[str]:
    parts = ["## Corrupted images", "The trained networks, tested on the same test cases made worse; nothing is trained again. "
             "The same corruption of a case meets every arm. Mean Dice, and F minus the arm; Holm's correction runs over "
             "each table."]
    for title, network, percent in (("Our network, all training cases", "ours", 100), ("Our network, a tenth", "ours", 10),
                                    ("The paper's network", "paper", 100)):
        arms = [a for a in ROBUST_ARMS if network == "ours" or a != "C"]
        parts += [f"### {title}", _robust_table(results, network, percent, arms)]
    return parts


def _robust_table(results: Results, network: str, percent: int, arms: list[str]) -> str:
    others = [a for a in arms if a != "F"]
    pairs = {(name, a): (Key(network, "F", percent, name), Key(network, a, percent, name)) for name in CORRUPTIONS for a in others}
    tests = family(results, list(pairs.values()))
    rows = []
    for name in CORRUPTIONS:
        found = [figure(results, Key(network, a, percent, name)) for a in arms]
        cells = [_difference(False, tests.get(pairs[name, a])) for a in others]
        rows.append([name, *(f"{x.mean:.4f}" if x else NOT_RUN for x in found),
                     *(NOT_RUN if d == NOT_RUN else f"{d}, {p}" for d, p in cells)])
    return table(["corruption", *(f"{a}" for a in arms), *(f"F - {a} (95 %), p (Holm)" for a in others)], rows)


def _left_out(results: Results) -> list[str]:
    """What the shipped model would lose or gain without its block, and which arm with a block is the best on val."""
    parts = ["## What leaving the block out costs or gains"]
    f, _, tests = _section_tests(results, OURS, 100)
    for arm, how in {"A": "Training the network without the block (A)",
                     "I": "Training with the block and leaving it out at inference (I)"}.items():
        test = tests.get((f, Key("ours", arm, 100)))
        parts.append(f"{how}: {NOT_RUN}." if test is None else
                     f"{how} changes the mean Dice by {signed(-test.difference, DIGITS)} (95 % {-test.high:.4f} to {-test.low:.4f}, "
                     f"{p_value(test.p_holm, 'p')}, the test of the table above{_seeds_short(results, arm)}) against the network with "
                     f"the block (F){_change(results, arm)}.")
    return [*parts, _best_on_val(results)]


def _seeds_short(results: Results, arm: str) -> str:
    """A test on one seed must not read like one on all."""
    planned, both = len(results.settings["seeds"]), len(seed_differences(results, Key("ours", "F", 100), Key("ours", arm, 100)))
    return "" if both == planned else f", on {both} of {planned} seeds"


def _best_on_val(results: Results) -> str:
    """The shipped model is to be the best arm that holds the pretrained block."""
    arms = [*WITH_BLOCK, *(arm for arm in EXTRA if arm.startswith("H-") and _val(results, arm) is not None)]
    val = {arm: value for arm in arms if (value := _val(results, arm)) is not None}
    missing = [arm for arm in arms if arm not in val]
    if not {"F", "I"} <= set(val):
        return f"Which arm that holds the pretrained block is the best on val: {NOT_RUN}."
    listed = ", ".join(f"{arm} {value:.4f}" for arm, value in val.items())
    return (f"Of the arms that hold the pretrained block, {max(val, key=val.get)} has the best mean Dice on val ({listed}; means over "
            "seeds, all training cases): chosen on val, not on test."
            + (f" With all seeds {NOT_RUN}: {', '.join(missing)}." if missing else ""))


def _val(results: Results, arm: str) -> float | None:
    found = [results.runs.get(Run("ours", arm, 100, seed).name) for seed in results.settings["seeds"]]
    return None if None in found else sum(r["val_dice"] for r in found) / len(found)


def _change(results: Results, arm: str) -> str:
    own, f = results.measured.get(f"ours-{arm}"), results.measured.get("ours-F")
    if not own or not f or "rounds" not in own:
        return f"; what it saves in time and parameters: {NOT_RUN}"
    trained, frozen = (own["parameters"][k] - f["parameters"][k] for k in ("trained", "frozen"))
    ratios = [100 * a / b for a, b in zip(own["rounds"], f["rounds"])]
    low, high = min(ratios), max(ratios)
    return (f", the trained parameters by {trained:+,}, the frozen ones by {frozen:+,}, and takes {low:.0f} to {high:.0f} % of its "
            f"processor time for a crop (range over {len(ratios)} rounds{', so no difference is shown' if low <= 100 <= high else ''})")


def _costs(results: Results) -> list[str]:
    arms = [*OURS, ("ours", "F-nolocal"), ("ours", "F-nofusion"), *PAPER]
    head = ["network and arm", "trained parameters", "frozen parameters", "processor s a training step", "wall s a training step",
            "peak memory of training (MB)", "processor s a crop"]
    rows = []
    for network, arm in arms:
        m = results.measured.get(f"{network}-{arm}")
        rows.append([f"{network} {arm}", *([NOT_RUN] * 6 if m is None else [
            f"{m['parameters']['trained']:,}", f"{m['parameters']['frozen']:,}", f"{m['step_cpu_seconds']:.2f}",
            f"{m['step_seconds']:.2f}", f"{m['peak_mb']:.0f}", f"{m['inference_cpu_seconds']:.2f}"])])
    machine = next((m["machine"] for m in results.measured.values()), None)
    where = [f"On {machine}."] if machine else []
    return ["## Parameters, time and memory", table(head, rows),
            " ".join([*where, "Each figure is the median over fresh processes, interleaved, of a few steps on random data at the "
                      "training's window and batch (`medllmseg benchmark --measure`). Peak memory is the largest resident size "
                      "of such a process, libraries included; processor seconds add up the threads and mind other work on the "
                      "machine less than wall seconds do."])]


def _memory(results: Results) -> list[str]:
    rows = []
    for name in ("ours-F", "dynunet-J", "paper-F"):
        m = results.memory.get(name)
        rows.append([name.replace("-", " "), *([NOT_RUN] * 4 if m is None else [
            f"{m['fp32']['peak_mb']:.0f}", f"{m['bf16']['peak_mb']:.0f}",
            f"{m['fp32']['peak_mb'] - m['bf16']['peak_mb']:+.0f}",
            f"{m['fp32']['step_cpu_seconds']:.2f}, {m['bf16']['step_cpu_seconds']:.2f}"])])
    return ["## Memory that autocast saves", table(
        ["network and arm", "fp32: peak MB", "bf16: peak MB", "saved MB", "processor s a step, fp32 and bf16"], rows),
        "Peak resident size of a fresh process that takes a few training steps (`medllmseg benchmark --memory`)."]


def _how(results: Results, command: str) -> list[str]:
    s, train = results.settings, results.settings["train"]
    sizes = {split: len(ids) for split, ids in s["cases"].items()}
    ours = s["ours"]
    facts = [
        f"Splits: {sizes['train']} cases to train on, {sizes['val']} to choose the weights by, {sizes['test']} to test on; no "
        "head or patient is in two. A tenth of the cases is whole heads, drawn by the seed, the same for every arm. The test "
        "cases compare the arms; nothing is chosen on them.",
        f"Every arm: {train['steps']} steps of AdamW, batch {train['batch']}, window {' x '.join(map(str, train['window']))} voxels "
        f"(k, j, i), {train['precision']}, cosine schedule with {train['warmup_steps']} steps of warm-up, the same "
        "augmentation, an average of the weights, and the best of the validations on val.",
        "With one seed, all arms begin with the same weights in the parts that they share, and see the same samples, changed in "
        "the same way, in the same order.",
        _tuning_text(results),
        f"Our network here: stem {', '.join(map(str, ours['stem_channels']))}, width {ours['width']}, {ours['depth']} blocks, "
        f"{ours['heads']} heads; language model {ours['llm']['source']}, layer {', '.join(map(str, ours['llm']['layers']))}, "
        f"position {ours['llm']['position']}. The paper's plain network as published (patch 8, width "
        f"{s['paper']['width']}, {s['paper']['depth']} blocks, linear decoder), its block at the {s['paper']['llm']['position']}.",
        "Dice and HD95 at each scan's own resolution, nothing cleaned up. Intervals: bootstrap over heads. Tests: Wilcoxon "
        "signed-rank over heads, structures, sides and seeds averaged first; Holm's correction over F against A, C and D, and "
        "over the other arms of a table by themselves. The intervals are each for itself and not corrected, so that one may "
        "leave 0 out where no difference counts as shown. Both say how other heads would change the answer, not how other seeds "
        "would: a difference that is sure over heads can still be luck of the training where the seeds disagree.",
        "Corruptions: " + "; ".join(f"{name}: {what}" for name, what in CORRUPTIONS.items()) + "."]
    return ["## How it was done", "\n".join(f"- {fact}" for fact in facts),
            f"```\n{command}\n{command} --measure\n{command} --memory\n```",
            "The first command trains and tests what is not finished and writes this page; it can be stopped at any moment and "
            "goes on where it stopped. `--page` writes the page alone, from `benchmark-results.json`, which holds every test "
            "case's values."]


def _tuning_text(results: Results) -> str:
    if not results.settings["tune"]:
        return (f"The learning rate is {results.settings['train']['lr']:g} for every arm; it was not tuned for any of them.")
    arms = dict.fromkeys((r["run"]["network"], r["run"]["arm"]) for r in results.runs.values() if r["run"]["lr"] is not None)
    chosen = {f"{n} {a}": choose_learning_rate(results.runs, n, a) for n, a in arms}
    listed = ", ".join(f"{name} {NOT_RUN if lr is None else f'{lr:g}'}" for name, lr in chosen.items())
    return (f"Tuning: every arm tried the learning rates {', '.join(f'{lr:g}' for lr in LEARNING_RATES)} with its first seed and "
            f"took the best on val: {listed or NOT_RUN}.")
