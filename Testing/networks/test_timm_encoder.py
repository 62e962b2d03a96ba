"""Encoders from a timm folder do what timm does, and never fetch weights."""

import json

import pytest
import torch
from safetensors.torch import save_file

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.networks.encoders.build_encoder import build_encoder, with_architecture
from MedLLMSegLib.registry.classifier_config import EncoderConfig
from Testing.helpers.cam_maps import recorded_maps


@pytest.mark.parametrize(
    "about",
    (
        {"architecture": "hf-hub:someone/model"},
        {"architecture": "resnet10t", "model_args": {"checkpoint_path": "weights.pth"}},
        {"architecture": "resnet10t", "model_args": {"pretrained": True}},
    ),
)
def test_a_timm_folder_cannot_send_for_weights_from_elsewhere(about, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(about))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="asks for weights from elsewhere"):
        build_encoder(EncoderConfig("folder", path=str(tmp_path)))


@pytest.mark.parametrize(
    "name, args",
    (("resnet10t", {}), ("vit_tiny_patch16_224", dict(img_size=64, embed_dim=48, depth=4))),
)
def test_a_timm_folder(name, args, tmp_path):
    timm = pytest.importorskip(
        "timm", reason="timm is not installed: its folders are NOT TESTED here"
    )
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, **args).eval()
    about = {"architecture": name, "num_classes": 5, "model_args": args}
    (tmp_path / "config.json").write_text(json.dumps(about))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = with_architecture(
        EncoderConfig("folder", path=str(tmp_path), image_size=64, frozen=True)
    )
    encoder = build_encoder(config)
    image = torch.randn(2, 1, 64, 64, requires_grad=True)
    maps = recorded_maps(encoder)
    tokens = encoder(image)
    if args:
        seen = model.forward_intermediates(
            image.repeat(1, 3, 1, 1), return_prefix_tokens=True, intermediates_only=True
        )
        expected = seen[-1][1][:, 0]
    else:
        expected = model.forward_features(image.repeat(1, 3, 1, 1)).mean((2, 3))
    torch.testing.assert_close(tokens[:, -1, : expected.shape[1]], expected)
    tokens.square().sum().backward()
    assert maps[0].ndim == 4
    assert maps[0].grad.abs().sum() > 0
    again = build_encoder(config, pretrained=False)
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(again(image), tokens)
    with pytest.raises(UserError, match="do not fit this version of timm"):
        save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
        build_encoder(config)
