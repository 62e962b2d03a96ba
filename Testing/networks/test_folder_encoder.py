"""A folder is told by its config.json, and what is no encoder is named."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.networks.encoders.build_encoder import build_encoder, with_architecture
from MedLLMSegLib.registry.classifier_config import EncoderConfig


@pytest.mark.parametrize("name", ("clip", "vit folder"))
def test_an_encoder_is_built_again_without_its_folder(name, folders, tmp_path):
    path = tmp_path / "mine"
    shutil.copytree(folders[1][name], path)
    config = with_architecture(EncoderConfig("folder", path=str(path), image_size=32, frozen=True))
    encoder = build_encoder(config)
    image = torch.randn(1, 1, 32, 32)
    shutil.rmtree(path)
    again = build_encoder(
        EncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))), pretrained=False
    )
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(again(image), encoder(image))


def test_folders_that_are_no_encoder_are_named(folders, tmp_path):
    def build(path):
        return build_encoder(EncoderConfig("folder", path=str(path), image_size=32))

    with pytest.raises(UserError, match=r"no readable config\.json"):
        build(tmp_path)
    shutil.copy(folders[1]["clip"] / "config.json", tmp_path)
    with pytest.raises(UserError, match=r"no model\.safetensors; pickled"):
        build(tmp_path)
    tensors = load_file(folders[1]["clip"] / "model.safetensors")
    lost = next(name for name in tensors if "vision" in name and "fc1.weight" in name)
    save_file(
        {name: t for name, t in tensors.items() if name != lost},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(UserError, match=r"lack .*fc1\.weight and 0 more"):
        build(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match=r"do not fit its config\.json or are damaged"):
        build(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="of type 'bert'"):
        build(tmp_path)
