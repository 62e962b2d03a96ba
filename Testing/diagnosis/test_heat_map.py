"""Grad-CAM: as MONAI has it, and on the finding."""

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM

from MedLLMSegLib import UserError, Volume, diagnose
from MedLLMSegLib.diagnosis.heat_map import grad_cam
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.tiny_classifier import tiny_network, write_tiny


@pytest.mark.parametrize("kind", ("mlp", "linear"))
def test_the_map_is_grad_cam_as_monai_has_it(kind):
    network, batch = (
        tiny_network(kind=kind),
        {"image": torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))},
    )

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network({"image": x})

    layer = next(name for name, module in Plain().named_modules() if module is network.cam_layer)
    logits, ours = grad_cam(network, batch, 1)
    assert torch.allclose(logits, network(batch))
    assert all(p.grad is None for p in network.parameters())
    theirs = GradCAM(
        Plain().eval(), layer, postprocessing=lambda x: x, upsampler=lambda size: lambda x: x
    )(batch["image"], class_idx=1)
    assert torch.allclose(ours, torch.relu(theirs[:, 0]), atol=1e-6)
    assert ours.max() > 0


def test_a_frozen_encoder_has_a_map_too():
    network = tiny_network()
    thawed = grad_cam(
        network,
        batch := {"image": torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))},
        1,
    )[1]
    network.encoder.requires_grad_(False)
    assert torch.equal(grad_cam(network, batch, 1)[1], thawed)


def spots(count, seed):
    """Noise, of which every second has a bright disc: (images (count, 1, 64, 64), targets,
    centres).
    """
    rng = np.random.default_rng(seed)
    images, centres = (
        rng.normal(0, 1, (count, 1, 64, 64)).astype(np.float32),
        rng.integers(12, 52, (count, 2)),
    )
    rows, columns = np.mgrid[:64, :64]
    for n in range(1, count, 2):
        images[n, 0] += 3.0 * ((rows - centres[n, 0]) ** 2 + (columns - centres[n, 1]) ** 2 < 64)
    return torch.from_numpy(images), torch.arange(count) % 2, centres


def test_the_map_of_a_trained_network_lies_on_the_finding(tmp_path):
    images, targets, _ = spots(64, 0)
    network = tiny_network()
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(20):
        chosen = torch.randperm(64, generator=torch.Generator().manual_seed(step))[:8]
        loss = torch.nn.functional.cross_entropy(
            network({"image": images[chosen]}), targets[chosen]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    folder = write_tiny(tmp_path / "spots", network.eval())
    new, wanted, centres = spots(12, 1)
    model, right, off = load_classifier(folder, "cpu"), 0, []
    for each, target, centre in zip(new, wanted, centres, strict=True):
        found = diagnose(
            Volume(
                each.numpy(),
                np.diag([0.5, 0.5, 1, 1.0]),
                "spot",
                {"window_center": 0.0, "window_width": 12.0},
            ),
            model,
        )
        right += found.answer == ("pneumonia" if target else "no finding")
        if target:
            assert found.heat_map.array.shape == (1, 64, 64)
            assert found.heat_map.array.max() == 1
            off.append(
                np.abs(
                    np.array(np.unravel_index(found.heat_map.array[0].argmax(), (64, 64))) - centre
                ).max()
            )
    assert right >= 10 and np.median(off) <= 16, (
        right,
        off,
    )  # a cell of the map is 4 x 4 pixels and sees many more


def test_the_map_is_on_the_images_own_grid_and_within_the_lungs_rectangle(bundle, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (120, 80)).astype(np.uint16)
    path = write_dicom(
        tmp_path / "x.dcm",
        pixels,
        WindowCenter=2000,
        WindowWidth=4000,
        ImagerPixelSpacing=[0.2, 0.2],
    )
    lungs = np.zeros((120, 80), bool)
    lungs[30:90, 20:60] = True
    found = diagnose(path, bundle, device="cpu", lungs=lungs)
    assert np.allclose(found.heat_map.ijk_to_ras, found.image.ijk_to_ras)
    assert found.heat_map.spacing_mm[1:] == pytest.approx((0.2, 0.2))
    inside = np.zeros((120, 80), bool)
    inside[27:93, 18:62] = True
    assert (found.heat_map.array[0][~inside] == 0).all()
    assert found.heat_map.array.max() == 1
    assert found.shown.shape == (120, 80)
    whole = diagnose(path, bundle, device="cpu")
    assert whole.probabilities != found.probabilities
    with pytest.raises(UserError, match=r"lung mask.*is empty"):
        diagnose(path, bundle, device="cpu", lungs=lungs & False)
    cropped = write_tiny(tmp_path / "cropped", input=InputConfig(lungs=True))
    assert any("trained on whole images" in note for note in found.notes)
    assert not any("whole" in note for note in whole.notes)
    assert not any(
        "whole" in note for note in diagnose(path, cropped, device="cpu", lungs=lungs).notes
    )
    asks = write_tiny(tmp_path / "whole", preparation=PreparationConfig(size=64, crop="none"))
    assert any(
        "lung mask was not used" in note
        for note in diagnose(path, asks, device="cpu", lungs=lungs).notes
    )
