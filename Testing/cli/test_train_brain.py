"""`medllmseg train --task brain`: what is typed reaches the training, and nothing is ignored."""

import pytest

from MedLLMSegLib.cli.main import build_parser, main
from MedLLMSegLib.training.small_checkpoint import SmallCheckpoint
from MedLLMSegLib.training.synthesis import brain_bundle
from MedLLMSegLib.training.synthesis import train_brain as session

COMMAND = ["train", "--task", "brain", "--data", "maps", "--output", "run"]


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The requests that reach the training, which itself is not run."""
    requests = []

    def train(request, device, progress, say):
        requests.append((request, device))
        return tmp_path / "small.safetensors"

    monkeypatch.setattr(session, "train_brain", train)
    monkeypatch.setattr(brain_bundle, "read_training", trained)
    monkeypatch.setattr(brain_bundle, "export_brain", lambda training, folder, maps: folder)
    return requests


def trained(folder, arm="F"):
    return brain_bundle.BrainTraining(SmallCheckpoint({}, {}, 1, 1.0), arm=arm)


def test_what_is_typed_reaches_the_training_and_the_rest_keeps_its_default(asked, capsys):
    assert main(COMMAND) == 0
    options = "--arm D --shape 64 80 64 --decay 0.2 --minutes 5 --seed 3 --precision fp32"
    options += " --from small.safetensors --lr 0.001 --batch 2 --device cpu"
    assert main([*COMMAND, *options.split()]) == 0
    (plain, _), (full, device) = asked
    assert plain == session.BrainRequest("maps", "run")
    assert full == session.BrainRequest(
        "maps",
        "run",
        arm="D",
        shape=(64, 80, 64),
        decay=0.2,
        minutes=5,
        seed=3,
        precision="fp32",
        start="small.safetensors",
        lr=0.001,
        batch=2,
    )
    assert device == "cpu"
    assert "--minutes goes on" in capsys.readouterr().out


def test_the_model_of_the_training_is_written_beside_it(asked, monkeypatch, capsys):
    assert main(COMMAND) == 0
    assert "the model is in run/bundle" in capsys.readouterr().out
    monkeypatch.setattr(brain_bundle, "read_training", lambda folder: trained(folder, "D"))
    assert main([*COMMAND, "--arm", "D"]) == 0
    assert "the model is" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "option",
    [
        ["--folds", "3"],
        ["--preset", "paper-vit"],
        ["--title", "x"],
        ["--kind", "mlp"],
        ["--channels", "a"],
    ],
)
def test_options_of_other_tasks_are_refused(asked, capsys, option):
    assert main([*COMMAND, *option]) == 2
    assert f"{option[0]} does not go with --task brain" in " ".join(capsys.readouterr().err.split())
    assert not asked


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_other_tasks_refuse_its_options(capsys, task):
    command = [*COMMAND, "--task", task, "--arm", "F"]
    assert main(command) == 2
    assert "--arm belongs to --task brain" in " ".join(capsys.readouterr().err.split())


def test_every_option_is_taken_or_refused(asked, capsys):
    """An option that is new to the command has to be put down as one or the other."""
    from MedLLMSegLib.cli.train import DESCRIPTION_OPTIONS, NOT_OF_BRAIN
    from MedLLMSegLib.cli.train_brain import OWN_OPTIONS, SHARED_OPTIONS
    from MedLLMSegLib.cli.train_classifier import CLASSIFIER_OPTIONS, SEGMENTER_OPTIONS

    refused = {*CLASSIFIER_OPTIONS, *SEGMENTER_OPTIONS, *DESCRIPTION_OPTIONS, *NOT_OF_BRAIN}
    known = {"task", "data", "output", "device", *OWN_OPTIONS, *SHARED_OPTIONS}
    of_every_command = {"run", "command", "verbose", "quiet", "default_of"}
    assert set(vars(build_parser().parse_args(COMMAND))) <= refused | known | of_every_command
