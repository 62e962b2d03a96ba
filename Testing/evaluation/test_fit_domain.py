"""`medllmseg domain --fit`: a reference from a model's own images, and what it tells."""

import numpy as np
import pytest
from PIL import Image

from MedLLMSegLib import UserError, diagnose
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.evaluation import fit_domain
from MedLLMSegLib.evaluation.fit_domain import fit_classifier_domain
from MedLLMSegLib.evaluation.reencoding import AS_CHILDREN, Reencoding, drawn
from MedLLMSegLib.registry.catalogue import read_metadata
from Testing.helpers.tiny_classifier import volumes, write_tiny


def smooth(seed, period):
    """An image with waves of a period of its own kind, and some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:96, :96] / period
    waves = np.sin(rows + rng.uniform(0, 6)) * np.sin(columns + rng.uniform(0, 6))
    return (128 + 80 * waves + rng.normal(0, 4, (96, 96))).clip(0, 255).astype(np.uint8)


def write_images(folder, counts, period):
    """A folder of images with a table. counts: split -> images."""
    folder.mkdir()
    rows, number = ["image,class,patient,split"], 0
    for split, count in counts.items():
        for _ in range(count):
            name = f"{folder.name}{number}.png"
            Image.fromarray(smooth(number, period)).save(folder / name)
            rows.append(f"{name},no finding,p{number},{split}")
            number += 1
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.fixture
def own(tmp_path):
    return write_images(tmp_path / "own", {"train": 12, "val": 8, "test": 6}, period=12)


def test_own_images_pass_however_they_are_stored_and_others_do_not(own, tmp_path, capsys):
    bundle = write_tiny(tmp_path / "tiny")
    other = write_images(tmp_path / "other", {"adapt": 2, "test": 5}, period=2)
    given = ["domain", "--model", str(bundle), "--fit", str(own), "--others", f"{other}:test"]
    assert main([*given, "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "other, test, as it is: 5 of 5 outside (100.0 %)" in shown
    figures = read_metadata(bundle)["domain"]["figures"]
    of_val = {row["stored"]: row for row in figures if row["images"] == "validation images"}
    assert set(of_val) == {"as it is", "as JPEG of 224 pixels", "re-encoded at random"}
    assert all(row["outside"] == 0 for row in of_val.values())  # the highest of 8 is the threshold
    assert read_metadata(bundle)["domain"]["command"].startswith("medllmseg domain --model")
    assert diagnose(other / "other0.png", bundle, device="cpu", heat_map=False).domain.outside


def test_the_same_images_make_the_same_reference(own, tmp_path):
    stored = []
    for name in ("one", "two"):
        bundle = write_tiny(tmp_path / name)
        fit_classifier_domain(bundle, own, device="cpu")
        stored.append(read_metadata(bundle)["domain"])
    assert stored[0]["sha256"] == stored[1]["sha256"]
    assert stored[0]["threshold"] == stored[1]["threshold"]


def test_a_model_of_volumes_and_a_split_that_is_not_there_are_refused(own, tmp_path):
    with pytest.raises(UserError, match="more than one flat image"):
        fit_classifier_domain(write_tiny(tmp_path / "ct", input=volumes()), own, device="cpu")
    other = write_images(tmp_path / "other", {"test": 2}, period=2)
    with pytest.raises(UserError, match='no image in its split "train"'):
        fit_classifier_domain(write_tiny(tmp_path / "tiny"), other, device="cpu")


def test_a_mistyped_set_is_named_before_anything_is_looked_at(own, tmp_path, monkeypatch):
    bundle, looked_at = write_tiny(tmp_path / "tiny"), []
    monkeypatch.setattr(fit_domain, "image_features", lambda *given: looked_at.append(given))
    for other in ((tmp_path / "othre", None), (own, "tset")):
        with pytest.raises(UserError, match=other[1] or "othre"):
            fit_classifier_domain(bundle, own, [other], device="cpu")
    assert not looked_at


def test_the_reference_is_stored_before_other_sets_are_measured(own, tmp_path):
    bundle = write_tiny(tmp_path / "tiny")
    other = write_images(tmp_path / "other", {"test": 2}, period=2)
    (other / "other1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="other1"):
        fit_classifier_domain(bundle, own, [(other, None)], device="cpu")
    assert diagnose(own / "own0.png", bundle, device="cpu", heat_map=False).domain is not None


def test_a_reencoded_image_is_a_square_of_the_same_scene():
    ramp = np.tile(np.linspace(0, 1, 300, dtype=np.float32), (200, 1))
    found = AS_CHILDREN.of(ramp)
    assert found.shape == (224, 224)
    assert np.abs(found - np.linspace(0, 1, 224)).max() < 0.02
    narrow = Reencoding(aspect=0.5, quality=95).of(ramp)  # the middle half of the columns
    assert narrow.min() == pytest.approx(0.25, abs=0.02)
    assert narrow.max() == pytest.approx(0.75, abs=0.02)
    noise = np.random.default_rng(0).random((200, 200), np.float32)
    fine, coarse = Reencoding(quality=95).of(noise), Reencoding(quality=40).of(noise)
    assert np.abs(fine - coarse).mean() > 0.01


def test_reencodings_are_drawn_within_what_is_in_use():
    rng = np.random.default_rng(0)
    all_drawn = [drawn(rng) for _ in range(200)]
    assert {180 <= each.side <= 320 and 40 <= each.quality <= 95 for each in all_drawn} == {True}
    aspects = [each.aspect for each in all_drawn]
    assert 0.79 < min(aspects) < 0.9
    assert 1.3 < max(aspects) < 1.42
