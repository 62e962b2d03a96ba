"""`diagnose`: calibrated probabilities, and the answer by the threshold."""

import numpy as np
import pytest
import torch

from MedLLMSegLib import Cancelled, UserError, Volume, diagnose
from MedLLMSegLib.diagnosis import predict
from MedLLMSegLib.diagnosis.classifier_bundle import rounded_as_stored
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.diagnosis.prepare_radiograph import prepare_radiograph
from MedLLMSegLib.io.radiograph import load_radiograph
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from Testing.helpers.tiny_classifier import tiny_network, write_tiny


def test_probabilities_are_the_networks_calibrated_and_the_threshold_decides(bundle, image):
    network, config = tiny_network(), PreparationConfig(size=64)
    rounded_as_stored(network)
    batch = {"image": torch.from_numpy(prepare_radiograph(load_radiograph(image), config)[0])[None]}
    wanted = torch.softmax(network(batch)[0] / 1.5, 0).detach().numpy()
    found = diagnose(image, bundle, device="cpu")
    assert list(found.probabilities) == ["no finding", "pneumonia"]
    assert np.allclose(list(found.probabilities.values()), wanted, atol=1e-6)
    assert 0.4 < wanted[1] < 0.5
    assert found.answer == "pneumonia"
    assert found.confidence == pytest.approx(wanted[1], abs=1e-6)
    assert (found.threshold, found.model, found.heat_class) == (
        0.4,
        "tiny",
        "pneumonia",
    )
    assert found.seconds > 0


def test_with_another_threshold_the_answer_is_another_and_near_it_a_note_says_so(tmp_path, image):
    found = diagnose(image, write_tiny(tmp_path / "strict", threshold=0.9), device="cpu")
    assert found.answer == "no finding"
    assert found.confidence == found.probabilities["no finding"]
    assert not any("close" in n for n in found.notes)
    near = found.probabilities["pneumonia"] + 0.01
    assert any(
        "close to the threshold" in n
        for n in diagnose(image, write_tiny(tmp_path / "near", threshold=near), device="cpu").notes
    )


def test_of_more_classes_the_likeliest_is_the_answer(tmp_path, image):
    folder = write_tiny(tmp_path / "three", tiny_network(classes=("a", "b", "c")), threshold=None)
    found = diagnose(image, folder, device="cpu")
    assert found.answer == found.heat_class == max(found.probabilities, key=found.probabilities.get)
    assert found.threshold is None
    assert sum(found.probabilities.values()) == pytest.approx(1)


def test_an_image_is_the_same_from_a_file_a_volume_and_a_radiograph(bundle, image):
    radiograph = load_radiograph(image)
    volume = Volume(
        radiograph.volume.array.astype(np.uint8),
        radiograph.volume.ijk_to_ras,
        "x",
        {"window_center": 128.0, "window_width": 256.0},
    )
    answers = [
        diagnose(each, bundle, device="cpu", heat_map=False).probabilities["pneumonia"]
        for each in (image, radiograph, volume)
    ]
    assert answers[0] == answers[1] == pytest.approx(answers[2], abs=2e-3)


def test_the_same_image_gives_the_same_answer_and_leaves_random_numbers_alone(bundle, image):
    torch.manual_seed(3)
    first = diagnose(image, bundle, device="cpu")
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.rand(1) == drawn
    second = diagnose(image, load_classifier(bundle, "cpu"), heat_map=False)
    assert first.probabilities == pytest.approx(second.probabilities, abs=1e-6)
    assert second.heat_map is None
    assert second.heat_class == ""


def test_progress_and_cancel(bundle, image):
    stages = []
    diagnose(
        image,
        bundle,
        device="cpu",
        progress=lambda stage, fraction: stages.append((stage, fraction)),
    )
    assert [s for s, _ in stages] == ["load", "read", "diagnose", "done"]
    assert [f for _, f in stages] == sorted(f for _, f in stages)

    def stop(stage, fraction):
        if stage == "diagnose":
            raise Cancelled

    with pytest.raises(Cancelled):
        diagnose(image, bundle, device="cpu", progress=stop)


def test_a_gpu_without_room_leaves_it_to_the_cpu(bundle, image, monkeypatch):
    model, real = load_classifier(bundle, "cpu"), predict._run
    full = predict.replace(model, device=torch.device("cuda"))
    monkeypatch.setattr(model.network, "to", lambda *a: model.network)

    def run(used, found, heat_map):
        if used.device.type == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(used, found, heat_map)

    monkeypatch.setattr(predict, "_run", run)
    monkeypatch.setattr(predict, "free_memory", lambda device: None)
    found = diagnose(image, full)
    assert found.probabilities == diagnose(image, model).probabilities
    assert any("CPU" in note or "processor" in note for note in found.notes)


def test_several_images_for_a_model_of_one(bundle, image):
    with pytest.raises(UserError, match="2 images were given"):
        diagnose([image, image], bundle, device="cpu")
    with pytest.raises(UserError, match="reads images alone"):
        diagnose(image, bundle, device="cpu", record={"age": 3})
    with pytest.raises(UserError, match="A window can be chosen for a DICOM file only"):
        diagnose(load_radiograph(image), bundle, device="cpu", window=1)
