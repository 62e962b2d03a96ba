"""A model of a CT and a PET: trained, measured and used, at toy size."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedLLMSegLib import load_volume, save_volume, segment
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.data.channel_images import join_channels
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.catalogue import CARD, INFERENCE
from MedLLMSegLib.segmentation.loaded_segmenter import load_model
from MedLLMSegLib.training.segmenter.request import TrainRequest
from MedLLMSegLib.training.segmenter.samples.augmentation import training_transform
from MedLLMSegLib.training.segmenter.samples.sampling import SampleDataset
from MedLLMSegLib.training.segmenter.segmenter_session import train_model
from MedLLMSegLib.training.segmenter.train_config import USUAL_AUGMENTATION
from Testing.helpers.two_channels import (
    SHAPE,
    in_one_file,
    patient,
    write_in_one_file,
    write_patients,
)

SMALL = ["--steps", "4", "--validations", "1", "--window", "8", "16", "16", "--batch", "1"]
SMALL += ["--precision", "fp32", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_patients(tmp_path_factory.mktemp("patients"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "both"
    assert cli.main(["train", "--data", str(data), "--output", str(output), *SMALL]) == 0
    return output


@pytest.fixture(scope="module")
def model(run):
    return load_model(run / "bundle", "cpu", "fp32")


def test_the_bundle_says_its_channels_and_normalises_each_by_itself(run):
    metadata = read_bundle(run / "bundle").metadata
    ct, pet = metadata["preprocessing"]["channels"]
    assert [(c["name"], c["modality"], c["unit"]) for c in (ct, pet)] == [
        ("ct", "CT", "HU"),
        ("pet", "PT", "SUV"),
    ]
    assert 40 < ct["grey"][2] < 80  # the ball's mean in HU
    assert 5 < pet["grey"][2] < 9  # and in SUV
    assert metadata["network"]["in_channels"] == 2
    assert metadata["modality"] == "CT and PET"
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["num_channels"] == 2
    assert image["channel_def"]["1"] == "pet (PET in SUV)"


def test_the_card_shows_both_images_and_monais_runner_is_refused_in_words(run):
    card = " ".join((run / "bundle" / CARD).read_text(encoding="utf-8").split())
    assert "medllmseg segment --input ct.nii.gz pet.nii.gz --model" in card
    assert "MONAI's own runner cannot run it" in card
    assert not (run / "bundle" / INFERENCE).exists()


def test_the_command_line_takes_both_images(run, tmp_path):
    ct, pet, _ = patient(9)
    save_volume(ct, tmp_path / "ct.nii.gz")
    save_volume(pet, tmp_path / "pet.nii.gz")
    command = ["segment", "--model", str(run / "bundle"), "-o", str(tmp_path / "out.nii.gz")]
    command += ["--device", "cpu", "--precision", "fp32", "--unit", "pet=SUV", "--input"]
    assert cli.main([*command, str(tmp_path / "ct.nii.gz"), str(tmp_path / "pet.nii.gz")]) == 0
    labels = load_volume(tmp_path / "out.nii.gz")
    expected = segment([ct, pet], run / "bundle", device="cpu", precision="fp32")
    assert np.array_equal(labels.array, expected.labels.array)
    assert labels.array.shape == SHAPE


def test_what_the_command_line_refuses(run, tmp_path, capsys):
    ct, pet, _ = patient(9)
    save_volume(ct, tmp_path / "ct.nii.gz")
    save_volume(pet, tmp_path / "pet.nii.gz")
    command = ["segment", "--model", str(run / "bundle"), "-o", str(tmp_path / "o.nii.gz")]
    first, second = str(tmp_path / "ct.nii.gz"), str(tmp_path / "pet.nii.gz")
    for words, message in (
        ([first], "takes 2 images of one patient"),
        (["--input", first], "takes 2 images of one patient"),
        (["--input", second, first], "cannot be the image ct (CT in HU): its lowest value"),
        ([first, "--input", second], "give the images of one patient with --input alone"),
        (["--input", first, second, "--unit", "pet"], "NAME=UNIT is needed"),
        (["--input", first, second, "--unit", "mr=1"], 'A unit is given for "mr"'),
        ([], "No scan is named"),
    ):
        assert cli.main([*command, *words]) == 2, words
        assert message in capsys.readouterr().err
    assert not (tmp_path / "o.nii.gz").exists()


def test_a_folder_of_numbered_images_is_a_patient_each(run, data, tmp_path, capsys):
    folder = tmp_path / "imagesTs"
    shutil.copytree(data / "imagesTr", folder)
    command = ["segment", str(folder), "--model", str(run / "bundle"), "-o", str(tmp_path / "out")]
    command += ["--precision", "fp32", "--device", "cpu"]
    assert cli.main(command) == 0
    assert "6 segmented" in capsys.readouterr().out
    images = [load_volume(folder / f"p2_000{n}.nii.gz") for n in (0, 1)]
    expected = segment(images, run / "bundle", device="cpu", precision="fp32")
    labels = load_volume(tmp_path / "out/p2_0000.nii.gz")
    assert np.array_equal(labels.array, expected.labels.array)
    (folder / "p3_0001.nii.gz").unlink()
    assert cli.main(command) == 2
    assert 'The patient "p3" has the images p3_0000.nii.gz, and' in capsys.readouterr().err


def test_a_finished_patient_is_skipped_until_an_image_changes(run, tmp_path, capsys):
    ct, pet, _ = patient(9)
    save_volume(ct, tmp_path / "ct.nii.gz")
    save_volume(pet, tmp_path / "pet.nii.gz")
    command = ["segment", "--model", str(run / "bundle"), "-o", str(tmp_path / "out")]
    command += ["--precision", "fp32", "--device", "cpu"]
    command += ["--input", str(tmp_path / "ct.nii.gz"), str(tmp_path / "pet.nii.gz")]
    for expected in ("1 segmented", "1 skipped"):
        assert cli.main(command) == 0
        assert expected in capsys.readouterr().out
    save_volume(replace(pet, array=pet.array + np.float32(0.5)), tmp_path / "pet.nii.gz")
    assert cli.main(command) == 0
    assert "1 segmented" in capsys.readouterr().out


def test_the_pet_matters_and_one_volume_of_both_is_the_same(model):
    ct, pet, _ = patient(9)
    both = segment([ct, pet], model, probabilities=True)
    joined = join_channels([ct, pet], model.channels, "petct")
    again = segment(joined, model, probabilities=True)
    assert np.array_equal(both.probabilities.array, again.probabilities.array)
    cold = replace(pet, array=np.full_like(pet.array, 1) + 0.01 * pet.array)
    without = segment([ct, cold], model, probabilities=True)
    assert np.abs(without.probabilities.array - both.probabilities.array).max() > 0.01
    with pytest.raises(UserError, match="series of 2 images"):
        segment(joined, "hippocampus-t1")
    with pytest.raises(UserError, match="takes one image, and 2 were given"):
        segment([ct, pet], "hippocampus-t1")


def test_one_file_of_both_images_is_the_same(run, model, tmp_path, capsys):
    whole = in_one_file(9)
    apart = [whole.with_array(array) for array in whole.array]
    expected = segment(apart, model, probabilities=True)
    again = segment(whole, model, probabilities=True)
    assert np.array_equal(expected.probabilities.array, again.probabilities.array)
    assert any("taken as ct, pet, in this order" in note for note in again.notes)
    (tmp_path / "scans").mkdir()
    names = ["a.nii.gz", "b_0000.nii.gz"]
    for name in names:
        save_volume(whole, tmp_path / "scans" / name)
    command = ["segment", "--model", str(run / "bundle"), "--precision", "fp32", "--device", "cpu"]
    one, out = tmp_path / "scans/a.nii.gz", tmp_path / "out.nii.gz"
    for words in (["--input", str(one)], [str(one), "--overwrite", "--report"]):
        assert cli.main([*command, "-o", str(out), *words]) == 0
        assert np.array_equal(load_volume(out).array, expected.labels.array)
    folder = [str(tmp_path / "scans"), "-o", str(tmp_path / "results")]
    assert cli.main([*command, *folder]) == 0
    assert "2 segmented" in capsys.readouterr().out
    for name in names:
        found = load_volume(tmp_path / "results" / name)
        assert np.array_equal(found.array, expected.labels.array)


@pytest.mark.parametrize(("suffix", "assume"), [(".mha", None), (".nrrd", "LPS")])
def test_a_fourth_axis_in_other_formats_is_the_same(model, tmp_path, suffix, assume):
    whole = in_one_file(9)
    image = sitk.GetImageFromArray(whole.array, isVector=False)
    matrix = np.diag([-1, -1, 1]) @ whole.ijk_to_ras[:3]
    image.SetSpacing((*whole.spacing_mm[::-1], 1.0))
    image.SetOrigin((*matrix[:, 3], 0.0))
    directions = np.eye(4)
    directions[:3, :3] = matrix[:, :3] / np.linalg.norm(matrix[:, :3], axis=0)
    image.SetDirection(directions.ravel())
    path = tmp_path / f"both{suffix}"
    sitk.WriteImage(image, str(path))  # ITK names no space in a NRRD of four axes
    found = segment(load_volume(path, assume), model)
    assert np.array_equal(found.labels.array, segment(whole, model).labels.array)


def test_what_one_file_is_refused_for(run, model, tmp_path, capsys):
    whole = in_one_file(9)
    save_volume(whole, tmp_path / "two.nii.gz")
    save_volume(whole.with_array(whole.array[[0, 1, 1]]), tmp_path / "three.nii.gz")
    save_volume(whole.with_array(whole.array[::-1]), tmp_path / "swapped.nii.gz")
    save_volume(whole.with_array(whole.array[1]), tmp_path / "pet.nii.gz")
    out = tmp_path / "o.nii.gz"
    command = ["segment", "--model", str(run / "bundle"), "-o", str(out), "--input"]
    two, three, swapped, pet = (
        str(tmp_path / f"{name}.nii.gz") for name in ("two", "three", "swapped", "pet")
    )
    for words, message in (
        ([three], 'holds 3 images, and the model "both" takes 2 images of one patient'),
        ([swapped], "cannot be the image ct (CT in HU): its lowest value"),
        ([two, pet], "series of 2 images, and one 3D image is needed"),
        ([two, "--frames"], "takes 2 images of one patient"),
    ):
        assert cli.main([*command, *words]) == 2, words
        assert message in " ".join(capsys.readouterr().err.split()), words
    assert not out.exists()
    with pytest.raises(UserError, match="holds 3 images, and the model"):
        segment(load_volume(three), model)
    nan = whole.array.copy()
    nan[1, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match='image 2" has 1 voxels that are NaN'):
        segment(whole.with_array(nan), model)


def test_a_training_takes_the_volumes_of_a_file(data, tmp_path):
    """It gives the weights of the same images in files of their own."""
    together = write_in_one_file(tmp_path / "together")
    apart = write_patients(tmp_path / "apart", one_grid=True)
    for source in (together, apart):
        output = str(tmp_path / f"run {source.name}")
        assert cli.main(["train", "--data", str(source), "--output", output, *SMALL]) == 0
    bundles = [load_model(tmp_path / f"run {n.name}" / "bundle", "cpu") for n in (together, apart)]
    assert bundles[0].sha256 == bundles[1].sha256


def test_the_way_a_scan_is_stored_changes_nothing(model):
    """Both images with their axes flipped give the labels of the plain ones, flipped."""
    ct, pet, _ = patient(9)
    flipped = []
    for image in (ct, pet):
        matrix = np.array(image.ijk_to_ras, float)
        matrix[:3, 3] += (image.array.shape[2] - 1) * matrix[:3, 0]
        matrix[:3, 0] *= -1
        flipped.append(replace(image, array=image.array[:, :, ::-1].copy(), ijk_to_ras=matrix))
    plain, turned = (segment(images, model).labels.array for images in ([ct, pet], flipped))
    assert np.array_equal(turned[:, :, ::-1], plain)


def test_evaluate_takes_unnamed_volumes_of_a_file_by_their_order(run, tmp_path):
    data, dice = write_in_one_file(tmp_path / "data"), []
    command = ["evaluate", "--model", str(run / "bundle"), "--data", str(data)]
    command += ["--device", "cpu", "--precision", "fp32"]
    about = json.loads((data / "dataset.json").read_text())
    for names in (about["channel_names"], {}):
        text = json.dumps({**about, "channel_names": names})
        (data / "dataset.json").write_text(text)
        output = tmp_path / f"{len(names)}.csv"
        assert cli.main([*command, "-o", str(output)]) == 0
        dice.append(json.loads(output.with_suffix(".summary.json").read_text())["means"])
    assert dice[0] == dice[1]


def test_evaluate_takes_the_images_by_their_names(run, tmp_path):
    """Also where the data have more images than the model takes."""
    data = write_patients(tmp_path / "data", one_grid=True)
    command = ["evaluate", "--data", str(data), "--device", "cpu", "--precision", "fp32"]
    assert cli.main([*command, "--model", str(run / "bundle"), "-o", str(tmp_path / "a.csv")]) == 0
    output = tmp_path / "pet"
    only_pet = ["train", "--data", str(data), "--output", str(output), "--channels", "pet", *SMALL]
    assert cli.main(only_pet) == 0
    assert (
        cli.main([*command, "--model", str(output / "bundle"), "-o", str(tmp_path / "b.csv")]) == 0
    )
    summary = json.loads((tmp_path / "b.summary.json").read_text())
    assert (summary["cases"], summary["failed"]) == (1, {})
    request = TrainRequest(str(data), str(tmp_path / "c"), start=str(output / "bundle"), steps=1)
    with pytest.raises(UserError, match=r"takes pet, .* name the images as it does"):
        train_model(request, "cpu", say=lambda text: None)


def test_each_channel_of_a_sample_changes_by_itself():
    """The same window in both channels comes out with other grey values in each."""
    plane = torch.linspace(0, 1, 16**3).reshape(1, 16, 16, 16)
    transform = training_transform((16, 16, 16), 2, USUAL_AUGMENTATION, channels=2)
    transform.set_random_state(3)
    sample = transform({"image": plane.repeat(2, 1, 1, 1), "label": (plane > 0.5).float()})
    assert sample["image"].shape == (2, 16, 16, 16)
    assert not torch.allclose(sample["image"][0], sample["image"][1])
    cases = [{"id": "a", "image": np.zeros((2, 9, 9, 9), np.float32), "voxels": []}]
    cases[0]["label"] = np.zeros((1, 9, 9, 9), np.uint8)
    samples = SampleDataset(cases, (8, 8, 8), 2, USUAL_AUGMENTATION, 1.0, 0)  # noise alone
    assert samples[0]["image"].shape == (2, 8, 8, 8)
