"""Encoders from a Hugging Face folder do what transformers does."""

from dataclasses import replace

import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.networks.encoders.build_encoder import build_encoder
from MedLLMSegLib.registry.classifier_config import EncoderConfig


@pytest.mark.parametrize("name", ("clip", "vit folder"))
def test_source_tokens_are_the_class_token_after_the_layers_as_transformers_has_it(
    name, folders, encoder_of
):
    model = folders[0][name]
    model = getattr(model, "vision_model", model)
    encoder = encoder_of(name, depths=(2, 5)).eval()
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        states = model(
            pixel_values=image.repeat(1, 3, 1, 1), output_hidden_states=True
        ).hidden_states
        torch.testing.assert_close(
            encoder(image), torch.stack([states[2][:, 0], states[5][:, 0]], dim=1)
        )


@pytest.mark.parametrize("name", ("clip", "vit folder"))
def test_a_folder_of_another_image_size_interpolates_its_positions(name, folders):
    config = EncoderConfig("folder", path=str(folders[1][name]), image_size=48, frozen=True)
    assert build_encoder(config)(torch.randn(2, 1, 48, 48)).shape == (2, 5, 32)
    with pytest.raises(UserError, match=r"8 pixels wide and EncoderConfig\.image_size is 50"):
        build_encoder(replace(config, image_size=50))


def test_a_package_that_is_missing_is_named(folders, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UserError, match="pip install transformers"):
        build_encoder(EncoderConfig("folder", path=str(folders[1]["clip"]), image_size=32))


def test_a_package_that_cannot_be_loaded_is_named(folders, monkeypatch):
    def fails(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("MedLLMSegLib.networks.encoders.optional_package.import_module", fails)
    with pytest.raises(
        UserError,
        match=(
            r"transformers is installed and cannot be loaded \(operator torchvision::nms does not"
            r" exist\)"
        ),
    ):
        build_encoder(EncoderConfig("folder", path=str(folders[1]["clip"]), image_size=32))
