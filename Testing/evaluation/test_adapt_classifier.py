"""`medllmseg adapt`: a new bundle that says what it has seen, or none."""

import numpy as np
import pytest
import torch
from PIL import Image

from MedLLMSegLib import UserError, diagnose
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.data.image_list import list_images
from MedLLMSegLib.evaluation.adapt_classifier import AdaptOptions, adapt_classifier, drawn_labels
from MedLLMSegLib.evaluation.domain_tokens import targets_of
from MedLLMSegLib.registry.catalogue import measured_model, read_metadata
from MedLLMSegLib.registry.seen_cases import SeenCases
from MedLLMSegLib.training.classifier.adaptation import NormsConfig
from Testing.helpers.tiny_classifier import tiny_network, write_tiny


def write_images(folder, split, names, bright):
    """Noise on the left or on the right, by class. bright: which class has it on the right."""
    folder.mkdir()
    rows, rng = ["image,class,patient,split"], np.random.default_rng(len(folder.name))
    for n in range(16):
        image = np.full((64, 64), 100.0)
        half = slice(32, 64) if (n % 2 == 1) == bright else slice(0, 32)
        image[:, half] += rng.normal(0, 60, (64, 32))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{n}.png")
        rows.append(f"{n}.png,{names[n % 2]},{folder.name}{n},{split}")
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.fixture
def domains(tmp_path):
    old = write_images(tmp_path / "old", "val", ("no finding", "pneumonia"), True)
    new = write_images(tmp_path / "new", "adapt", ("normal", "Pneumonia"), True)
    return write_tiny(tmp_path / "tiny"), old, new


def test_an_adapted_model_is_a_model_of_its_own_that_says_what_it_has_seen(
    domains, tmp_path, capsys
):
    bundle, old, new = domains
    given = ["adapt", str(bundle), "--data", str(new), "--split", "adapt", "--old", str(old)]
    output = tmp_path / "adapted"
    options = ["--labels", "8", "--most-lost", "1", "--output", str(output), "--device", "cpu"]
    assert main([*given, *options]) == 0
    assert "learnt from 8 images" in capsys.readouterr().out
    before, after = read_metadata(bundle), read_metadata(output)
    assert after["id"] == "tiny-adapted-to-new"
    assert measured_model(after).sha256 != measured_model(before).sha256
    assert len(SeenCases.of_bundle(after).train.scans) == 8
    assert len(SeenCases.of_bundle(after).train.persons) == 8
    assert diagnose(new / "0.png", output, device="cpu", heat_map=False).model == after["id"]
    card = " ".join((output / "docs/README.md").read_text(encoding="utf-8").split())
    assert "not calibrated.** The temperature is that of tiny before it was adapted." in card
    assert "on, chosen on the 8 images it was adapted to, so it may suit others less." in card


def test_without_labels_the_card_calls_temperature_and_threshold_the_old_models(domains, tmp_path):
    bundle, old, new = domains
    options = AdaptOptions(most_lost=1.0, norms=NormsConfig(epochs=1, gate=2.0, one_class=2.0))
    found = adapt_classifier(bundle, new, old, tmp_path / "adapted", options, "cpu")
    card = " ".join((found.folder / "docs/README.md").read_text(encoding="utf-8").split())
    assert "not calibrated.** The temperature is that of tiny before it was adapted." in card
    assert "of 0.400 on, that of tiny before it was adapted." in card
    assert "same images" not in card


def test_where_the_old_domain_may_lose_nothing_nothing_is_written(domains, tmp_path, capsys):
    bundle, old, new = domains
    given = ["adapt", str(bundle), "--data", str(new), "--old", str(old), "--labels", "8"]
    output = tmp_path / "adapted"
    assert main([*given, "--most-lost", "-2", "--output", str(output), "--device", "cpu"]) == 1
    assert "undone: the AUC on the old domain's" in capsys.readouterr().out
    assert not output.exists()


def test_no_model_is_replaced_unasked_and_the_adapted_one_never(domains, tmp_path, capsys):
    bundle, old, new = domains
    given = ["adapt", str(bundle), "--data", str(new), "--old", str(old), "--labels", "8"]
    given += ["--most-lost", "1", "--device", "cpu", "--output"]
    other = write_tiny(tmp_path / "other", id="other")
    assert main([*given, str(other)]) == 2
    assert "holds a model already; choose another folder" in capsys.readouterr().err
    assert main([*given, str(bundle), "--overwrite"]) == 2
    assert "is the model that is to be adapted" in capsys.readouterr().err
    assert [read_metadata(each)["id"] for each in (bundle, other)] == ["tiny", "other"]
    assert main([*given, str(other), "--overwrite"]) == 0
    assert read_metadata(other)["id"] == "tiny-adapted-to-new"


def test_what_cannot_be_adapted_is_refused_before_the_old_domain_is_read(domains, tmp_path, capsys):
    bundle, _old, new = domains
    rows = (new / "labels.csv").read_text(encoding="utf-8").replace("Pneumonia", "normal")
    (new / "labels.csv").write_text(rows, encoding="utf-8")
    given = ["--data", str(new), "--old", str(tmp_path / "nowhere"), "--device", "cpu"]
    given += ["--output", str(tmp_path / "adapted")]
    assert main(["adapt", str(bundle), *given, "--labels", "8"]) == 2
    assert 'is of the class "pneumonia", and each class' in capsys.readouterr().err
    plain = write_tiny(tmp_path / "plain", tiny_network(kind="linear"))
    assert main(["adapt", str(plain), *given]) == 2
    assert "has no norm layer behind its encoder" in capsys.readouterr().err


def test_labels_are_drawn_evenly_and_anew_for_each_draw():
    target = torch.tensor([0] * 30 + [1] * 6)
    for count in (4, 5, 12):
        chosen = drawn_labels(target, count, 0)
        assert len(set(chosen.tolist())) == count
        assert abs(int((target[chosen] == 1).sum()) - count / 2) <= 0.5
    assert drawn_labels(target, 8, 0).tolist() == drawn_labels(target, 8, 0).tolist()
    assert drawn_labels(target, 8, 0).tolist() != drawn_labels(target, 8, 1).tolist()
    for count in (1, 37):
        with pytest.raises(UserError, match="labels were asked for"):
            drawn_labels(target, count, 0)


def test_classes_are_matched_by_their_names_in_the_model(domains):
    _bundle, _old, new = domains
    images = list_images(new)
    assert targets_of(images, ("No_findings", "Pneumonia")).tolist() == [0, 1] * 8
    with pytest.raises(UserError, match='has the class "Pneumonia"'):
        targets_of(images, ("no finding", "nodule"))
