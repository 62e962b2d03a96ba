"""`medllmseg domain A B`: sets of images of one kind, of another, and of other grey values."""

import json

import numpy as np
import pytest
from PIL import Image

from MedLLMSegLib.cli.main import main
from MedLLMSegLib.evaluation.compare_domains import first_half, grey_quantiles, matched_to
from Testing.helpers.tiny_classifier import write_tiny


def write_images(folder, count, seed, power=1.0):
    """Waves of one kind. power: of the grey values."""
    folder.mkdir()
    for n in range(count):
        rng = np.random.default_rng((seed, n))
        rows, columns = np.mgrid[:64, :64] / 6
        waves = np.sin(rows + rng.uniform(0, 6)) * np.sin(columns + rng.uniform(0, 6))
        grey = (0.5 + 0.4 * waves + rng.normal(0, 0.02, (64, 64))).clip(0, 1) ** power
        Image.fromarray((255 * grey).astype(np.uint8)).save(folder / f"{folder.name}{n}.png")
    return folder


@pytest.mark.slow
def test_other_grey_values_are_a_shift_that_harmonising_takes_away(tmp_path, capsys):
    bundle, output = write_tiny(tmp_path / "tiny"), tmp_path / "found"
    one, other = write_images(tmp_path / "a", 16, 0), write_images(tmp_path / "b", 16, 1, 3.0)
    given = ["domain", str(one), str(other), "--model", str(bundle), "--output", str(output)]
    assert main([*given, "--device", "cpu"]) == 0
    assert "B with the grey values of A: MMD^2" in capsys.readouterr().out
    ways = json.loads((output / "domain.json").read_text(encoding="utf-8"))["ways"]
    plain, matched = ways["as they are"], ways["B with the grey values of A"]
    assert plain["p"] < 0.01
    assert plain["auc"]["value"] > 0.95
    assert matched["mmd2"] < 0.3 * plain["mmd2"]
    assert matched["mahalanobis"] < plain["mahalanobis"]
    assert (output / "map_2.png").stat().st_size > 3000


def test_too_few_images_and_the_same_image_twice_are_refused(tmp_path, capsys):
    bundle = write_tiny(tmp_path / "tiny")
    one, few = write_images(tmp_path / "a", 8, 0), write_images(tmp_path / "b", 7, 1)
    given = ["domain", "--model", str(bundle), "--device", "cpu", "--output", str(tmp_path / "out")]
    assert main([*given, str(one), str(few)]) == 2
    assert "at least 8 are needed" in capsys.readouterr().err
    assert main([*given, str(one), str(one)]) == 2
    assert "is in both sets" in capsys.readouterr().err
    assert main([*given, str(one)]) == 2
    assert "1 sets of images were given" in capsys.readouterr().err


def test_a_patient_in_two_splits_of_a_table_and_too_few_patients_are_refused(tmp_path, capsys):
    bundle, folder = write_tiny(tmp_path / "tiny"), write_images(tmp_path / "a", 16, 0)
    given = ["domain", "--model", str(bundle), "--device", "cpu", "--output", str(tmp_path / "out")]
    given += [f"{folder}:one", f"{folder}:other"]

    def patients(names):
        rows = [f"a{n}.png,{name},{'one' if n < 8 else 'other'}" for n, name in enumerate(names)]
        table = "\n".join(["image,patient,split", *rows])
        (folder / "labels.csv").write_text(table, encoding="utf-8")

    patients([f"p{n % 15}" for n in range(16)])
    assert main(given) == 2
    assert 'The patient "p0" is in both sets' in capsys.readouterr().err
    patients([f"{n // 8}-{n % 3}" for n in range(16)])
    assert main(given) == 2
    assert "is of 3 patients, and at least 4 are needed" in capsys.readouterr().err


def test_no_patient_is_in_both_halves_of_a_set():
    groups = ["a", "a", "b", "b", "a", "c", "d", "e", "e"]
    first = first_half(groups)
    assert {g for g, in_it in zip(groups, first, strict=True) if in_it} == {"a", "c", "e"}
    assert first.tolist() == [group in "ace" for group in groups]


def test_matched_grey_values_have_the_others_quantiles(tmp_path):
    one, other = write_images(tmp_path / "a", 3, 0), write_images(tmp_path / "b", 1, 1, 3.0)
    levels = grey_quantiles(sorted(one.iterdir()))
    dark = np.asarray(Image.open(other / "b0.png"), float) / 255
    matched = matched_to(levels)(0, dark)
    assert np.quantile(matched, 0.5) == pytest.approx(
        np.interp(0.5, np.linspace(0, 1, 257), levels), abs=0.02
    )
    assert np.all(np.diff(matched.ravel()[np.argsort(dark.ravel(), kind="stable")]) >= -1e-9)
