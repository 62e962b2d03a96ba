"""Small encoders of every kind."""

import pytest
import torch

from MedLLMSegLib.networks.encoders.build_encoder import build_encoder
from MedLLMSegLib.registry.classifier_config import EncoderConfig


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """(models, paths): a tiny random CLIP, both halves, and a tiny ViT, and their folders."""
    transformers = pytest.importorskip("transformers")
    sizes = dict(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=5,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    text = dict(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=50,
    )
    torch.manual_seed(1)
    clip = transformers.CLIPConfig(vision_config=sizes, text_config=text)
    models = {
        "clip": transformers.CLIPModel(clip),
        "vit folder": transformers.ViTModel(transformers.ViTConfig(**sizes)),
    }
    paths = {name: tmp_path_factory.mktemp("encoders") / name for name in models}
    for name, model in models.items():
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn_like(p) * 0.3)
        model.eval().save_pretrained(paths[name])
    return models, paths


@pytest.fixture
def encoder_of(folders):
    """encoder_of(name, frozen): small, with random weights."""

    def make(name, frozen=False, **more):
        _, paths = folders
        kind = "folder" if name in paths else name
        path = str(paths.get(name, ""))
        config = EncoderConfig(kind, path=path, image_size=32, width=32, frozen=frozen, **more)
        torch.manual_seed(0)
        return build_encoder(config, pretrained=kind == "folder")

    return make
