"""The training loop on toy data: killed and resumed, on two processes, with broken numbers, on
odd sizes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.training.average import update_average
from MedLLMSegLib.training.checkpoint import fill_best, load_best
from MedLLMSegLib.training.optimiser import OPTIMISERS, schedule
from MedLLMSegLib.training.segmenter.case_recipe import case_trainer
from MedLLMSegLib.training.segmenter.losses import SegmentationLoss
from Testing.helpers.toy_training import (
    QUICK,
    OneWeight,
    loss_curve,
    tiny_network,
    toy_cases,
    toy_trainer,
)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_stopped_training_goes_on_to_the_same_curve_and_weights(tmp_path, optimiser):
    config = replace(QUICK, optimiser=optimiser)
    toy_trainer(tmp_path / "whole", config).run()

    def stop(text, fraction):
        if fraction > 0.6:
            raise Cancelled

    with pytest.raises(Cancelled):
        toy_trainer(tmp_path / "parts", config).run(stop)
    half = json.loads((tmp_path / "parts/history.json").read_text())
    assert half[-1]["step"] == 4  # saved where it was stopped
    again, steps = toy_trainer(tmp_path / "parts", config), []
    again.run(lambda text, fraction: steps.append(again.state.step))
    assert steps[0] == 5  # and it does not begin anew
    assert_same_training(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("step", (3, 6))
def test_a_stop_amid_the_val_cases_is_heard_and_they_are_looked_at_again(tmp_path, step):
    cases = toy_cases(5)

    def make(name):
        output = tmp_path / name
        return case_trainer(
            tiny_network(), 3, QUICK, cases[:3], cases[3:], output, {"about": "toys"}
        )

    make("whole").run()

    def stop(text, fraction):
        if text.startswith(f"step {step} ") and "looking at case4" in text:  # the second of two
            raise Cancelled

    with pytest.raises(Cancelled):
        make("parts").run(stop)
    assert "val_dice" not in json.loads((tmp_path / "parts/history.json").read_text())[-1]
    make("parts").run()
    assert_same_training(tmp_path / "whole", tmp_path / "parts")


def test_the_weights_that_it_begins_with_may_be_the_best(tmp_path):
    config = replace(QUICK, look_first=True, lr=0.5)  # which spoils them
    result = toy_trainer(tmp_path, config).run()
    looks = [
        row["step"]
        for row in json.loads((tmp_path / "history.json").read_text())
        if "val_dice" in row
    ]
    assert looks == [0, 3, 6]
    assert load_best(tmp_path)["step"] == 0
    assert result.best_score > 0
    fresh = tiny_network()
    assert all(
        torch.equal(tensor, fresh.state_dict()[name])
        for name, tensor in load_best(tmp_path)["weights"].items()
    )
    assert toy_trainer(tmp_path, config).run().steps == 6  # and is finished


def assert_same_training(one, other):
    a, b = (json.loads((folder / "history.json").read_text()) for folder in (one, other))
    for key in ("step", "loss", "val_dice"):
        assert [r[key] for r in b if key in r] == pytest.approx(
            [r[key] for r in a if key in r], abs=1e-5
        )
    best, same = load_best(one), load_best(other)
    assert best["step"] == same["step"]
    assert all(
        torch.allclose(best["weights"][k], same["weights"][k], atol=1e-6) for k in best["weights"]
    )


def test_samples_made_by_other_processes_are_the_same(tmp_path):
    toy_trainer(tmp_path / "here").run()
    toy_trainer(tmp_path / "there", replace(QUICK, workers=2)).run()
    assert loss_curve(tmp_path / "there") == pytest.approx(loss_curve(tmp_path / "here"), abs=1e-5)


SCRIPT = """
import os, shutil, signal, sys
sys.path.insert(0, {root!r})
import torch
from Testing.helpers.toy_training import toy_trainer
from Testing.training.test_segmenter_loop import LONGER

torch.set_num_threads(1)
run = sys.argv[1]

def die_at_step_7(text, fraction):
    if text.startswith("step 4 "):
        shutil.copy(run + "/last.pt", run + "/older.pt")
    if text.startswith("step 7 "):
        os.kill(os.getpid(), signal.SIGKILL)

toy_trainer(run, LONGER).run(die_at_step_7)
"""
LONGER = replace(QUICK, steps=9, batch=2, optimiser="muon")


@pytest.fixture
def one_thread():
    """Sums are added up in one order, here as in another process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_killed_outright_it_resumes_to_the_same_curve(tmp_path, one_thread):
    """The checkpoint is of step 4, as with those of every two minutes: the later curve and best
    weights lie beside it.
    """
    script, killed = tmp_path / "run.py", tmp_path / "killed"
    script.write_text(SCRIPT.format(root=str(Path(__file__).parents[2])))
    process = subprocess.Popen(
        [sys.executable, script, killed],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    toy_trainer(tmp_path / "whole", LONGER).run()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors[-2000:]
    assert max(loss_curve(killed)) == 7
    assert load_best(killed)["step"] == 6
    shutil.move(killed / "older.pt", killed / "last.pt")
    resumed, steps = toy_trainer(killed, LONGER), []
    resumed.run(lambda text, fraction: steps.append(resumed.state.step))
    assert steps[0] == 5  # it has not begun anew
    assert_same_training(tmp_path / "whole", killed)


@pytest.mark.slow
def test_the_loss_falls_on_toys_and_the_frozen_block_stays(tmp_path):
    from MedLLMSegLib.llm.frozen_weights import frozen_bytes

    config = replace(QUICK, steps=60, validate_every=30, lr=1e-2, noise_fraction=0.0)
    made = toy_trainer(tmp_path, config)
    before = frozen_bytes(made.network)
    result = made.run()
    curve = loss_curve(tmp_path)
    assert np.mean([curve[n] for n in range(56, 61)]) < 0.8 * np.mean(
        [curve[n] for n in range(1, 6)]
    )
    assert result.best_score > 0.3
    assert result.steps == 60
    assert result.stopped == "finished"
    assert frozen_bytes(made.network) == before
    frozen = sum(not p.requires_grad for p in made.network.parameters())
    assert frozen
    assert (
        len(made.optimiser.state_dict()["state"]) == len(list(made.network.parameters())) - frozen
    )


def test_a_loss_that_is_no_number_stops_names_the_cases_and_keeps_the_last_good_state(tmp_path):
    cases = [{**c, "label": np.minimum(c["label"], 1)} for c in toy_cases()]
    config = replace(QUICK, noise_fraction=0.0, checkpoint_s=1e9)
    broken = case_trainer(OneWeight(bad_from=3), 2, config, cases[:-1], cases[-1:], tmp_path, {})
    with pytest.raises(
        UserError,
        match=(
            r"nan at step 3, on the cases case\d, case\d; .* another folder .* last good state"
            r" is in"
        ),
    ):
        broken.run()
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["step"] == 3
    assert torch.isfinite(saved["network"]["weight"]).all()


def test_training_stops_early_when_val_gets_no_better(tmp_path):
    class Stuck(OneWeight):
        def forward(self, x):
            return (
                super().forward(x) * 0
                + torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1)
                + 0 * self.weight
            )

    cases = [{**c, "label": np.minimum(c["label"], 1)} for c in toy_cases()]
    config = replace(QUICK, steps=60, validate_every=2, patience=3, lr=0.0)
    result = case_trainer(Stuck(99), 2, config, cases[:-1], cases[-1:], tmp_path, {}).run()
    assert result.stopped == "early"
    assert result.steps == 8
    assert (
        case_trainer(Stuck(99), 2, config, cases[:-1], cases[-1:], tmp_path, {}).run().steps == 8
    )  # it stays stopped


def test_another_training_in_the_same_folder_is_refused(tmp_path):
    toy_trainer(tmp_path).run()
    cases = toy_cases()
    with pytest.raises(UserError, match="other settings"):
        case_trainer(
            tiny_network(), 3, QUICK, cases[:-1], cases[-1:], tmp_path, {"about": "others"}
        )


def test_a_plan_that_an_older_version_wrote_goes_on(tmp_path):
    toy_trainer(tmp_path).run()
    cases = toy_cases()
    newer = {"about": "toys", "request": {"later": 1}}
    assert (
        case_trainer(tiny_network(), 3, QUICK, cases[:-1], cases[-1:], tmp_path, newer).run().steps
        == QUICK.steps
    )
    for other in (
        {"about": "toys"},
        {"about": "toys", "request": {"later": 2}},
    ):  # but what it did write must be the same
        with pytest.raises(UserError, match="other settings"):
            case_trainer(tiny_network(), 3, QUICK, cases[:-1], cases[-1:], tmp_path, other)


def test_best_weights_come_back(tmp_path):
    made = toy_trainer(tmp_path)
    made.run()
    other = tiny_network(seed=5)
    best = fill_best(other, tmp_path)
    assert best["step"] in (3, 6)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in best["weights"].items())


def test_a_checkpoint_of_another_optimiser_is_refused(tmp_path):
    toy_trainer(tmp_path).run()
    with pytest.raises(UserError, match="another optimiser"):
        toy_trainer(tmp_path, replace(QUICK, optimiser="muon"))


@pytest.mark.parametrize("content", [b"", b"half way", b"PK\x03\x04 not a zip"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, content):
    toy_trainer(tmp_path).run()
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(UserError, match=r'last\.pt" is damaged; remove it to begin again'):
        toy_trainer(tmp_path)


def test_no_case_to_choose_on_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="There are 4 cases to train on and 0"):
        case_trainer(tiny_network(), 3, QUICK, toy_cases(), [], tmp_path, {})


def test_several_processes_need_a_batch_they_can_share(tmp_path):
    class Two:
        world_size = 2

    with pytest.raises(
        UserError, match="batch of 3 cannot be shared evenly by 2 processes; use --batch 2"
    ):
        toy_trainer(tmp_path, replace(QUICK, batch=3), fabric=Two())


def test_the_losss_gradient_is_right():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 1, 3, 4, 3))
    loss = SegmentationLoss()
    loss.loss.double()

    def exact(x):
        return loss.loss(x, labels)

    assert torch.autograd.gradcheck(exact, (logits,), eps=1e-6, atol=1e-6)
    value = SegmentationLoss()(logits.float(), labels)
    value.backward()
    towards = torch.nn.functional.one_hot(labels[:, 0].long(), 3).movedim(-1, 1).double()
    assert SegmentationLoss()(10 * towards.float(), labels) < 0.05 < float(value)
    assert (logits.grad * towards).sum() < 0  # raising the right class lowers the loss


def test_deep_supervision_counts_the_finest_most():
    labels = torch.zeros(1, 1, 8, 8, 8)
    labels[:, :, 2:6, 2:6, 2:6] = 1
    good = torch.cat((5 - 10 * labels, 10 * labels - 5), 1)
    small = torch.nn.functional.avg_pool3d(good, 2)
    loss = SegmentationLoss()
    both, fine_bad, coarse_bad = (
        loss([good, small], labels),
        loss([-good, small], labels),
        loss([good, -small], labels),
    )
    assert both < 0.05
    assert fine_bad > 1.5 * coarse_bad > both


def test_one_process_and_halves_of_a_batch_agree():
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 3, 6, 6, 6), torch.randint(0, 3, (4, 1, 6, 6, 6))
    loss = SegmentationLoss()
    assert float(loss(logits, labels)) == pytest.approx(
        float((loss(logits[:2], labels[:2]) + loss(logits[2:], labels[2:])) / 2), abs=1e-6
    )


def test_the_schedule_warms_up_and_falls():
    rates = [schedule(n, 100, 10) for n in range(100)]
    assert rates[0] == 0.1
    assert max(rates) == 1
    assert rates[-1] < 0.02
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_average_follows_slowly():
    network = torch.nn.Linear(2, 2)
    average = {k: torch.zeros_like(v) for k, v in network.state_dict().items()}
    update_average(average, network, 0.9)
    assert torch.allclose(average["weight"], 0.1 * network.weight)


def test_the_average_of_a_training_is_that_of_all_its_steps(tmp_path):
    """From the decay (1 + step) / (10 + step) of the first steps on, so that it soon forgets where
    it began.
    """
    cases = [{**c, "label": np.minimum(c["label"], 1)} for c in toy_cases()]
    config = replace(QUICK, noise_fraction=0.0, lr=0.1)
    trainer = case_trainer(OneWeight(), 2, config, cases[:-1], cases[-1:], tmp_path, {})
    weights, average = [], 1.0
    weight = trainer.network.weight
    trainer.optimiser.optimizer.register_step_post_hook(
        lambda *arguments: weights.append(float(weight))
    )
    trainer.run()
    assert len(set(weights)) == QUICK.steps
    for step, value in enumerate(weights):
        decay = (1 + step) / (10 + step)
        average = decay * average + (1 - decay) * value
    assert float(trainer.state.average["weight"]) == pytest.approx(average, abs=1e-6)
    assert abs(average - weights[-1]) > 1e-3


def test_under_autocast_layers_run_in_bf16_also_on_val_cases_and_weights_stay_in_float32(tmp_path):
    made, seen = toy_trainer(tmp_path, replace(QUICK, steps=2, precision="bf16")), set()
    made.network.blocks[0].mlp[0].register_forward_hook(
        lambda layer, given, out: seen.add((layer.training, out.dtype))
    )
    result = made.run()
    assert seen == {(True, torch.bfloat16), (False, torch.bfloat16)}
    assert {p.dtype for p in made.network.parameters()} == {torch.float32}
    assert all(np.isfinite(v) for v in loss_curve(tmp_path).values())
    assert result.best_score >= 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_on_a_gpu(tmp_path, precision):
    from MedLLMSegLib.training.devices import make_fabric

    result = toy_trainer(
        tmp_path, replace(QUICK, precision=precision), fabric=make_fabric("cuda", precision)
    ).run()
    assert result.steps == 6
    assert all(np.isfinite(list(loss_curve(tmp_path).values())))
