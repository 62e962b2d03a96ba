"""EfficientNet-lite0 is the network that its weights were made for."""

import pytest
import torch
from safetensors.torch import load_file

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm import encoder_store
from MedLLMSegLib.networks.encoders.build_encoder import build_encoder
from MedLLMSegLib.networks.encoders.efficientnet import EfficientNetLite0
from MedLLMSegLib.registry.classifier_config import EncoderConfig
from Testing.helpers.user_cache import fetched_file

# The numbers of ImageNet: tabby, tiger cat, Egyptian cat; espresso.
CAT = {281, 282, 285}
ESPRESSO = {967}


def test_efficientnet_lite0_is_the_one_that_the_weights_were_made_for():
    """Against the code that its checkpoint was published with, on random weights and batch
    statistics.
    """
    reference = (
        pytest.importorskip("efficientnet_lite_pytorch")
        .EfficientNet.from_name("efficientnet-lite0", image_size=64)
        .eval()
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for t in reference.state_dict().values():
            if t.is_floating_point() and t.ndim == 1:
                t.copy_(torch.rand_like(t) + 0.5)
    tensors = {
        encoder_store._our_name(encoder_store.EFFICIENTNET_LITE0, name): t
        for name, t in reference.state_dict().items()
    }
    ours = EfficientNetLite0(EncoderConfig("efficientnet-lite0", channels=3, depths=(3, 8))).eval()
    ours.load_state_dict(
        {name: t for name, t in tensors.items() if not name.startswith("classifier.")}, strict=True
    )
    image = torch.randn(2, 3, 64, 64)
    stage3 = []
    reference._blocks[4].register_forward_hook(lambda module, args, output: stage3.append(output))
    with torch.no_grad():
        maps = reference.extract_features(image)
        tokens = ours(image)
    torch.testing.assert_close(tokens[:, 0, :40], stage3[0].mean((2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens[:, 1], maps.mean((2, 3)), atol=1e-4, rtol=1e-4)


def test_with_imagenets_weights_it_knows_a_cat_and_an_espresso(monkeypatch):
    path = fetched_file(
        "encoders/efficientnet-lite0.safetensors",
        "medllmseg llm fetch --encoder efficientnet-lite0",
    )
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(path.parents[1]))
    data = pytest.importorskip("skimage.data")
    encoder = build_encoder(
        EncoderConfig("efficientnet-lite0", channels=3, depths=(8,), frozen=True)
    )
    stored = load_file(path)
    for picture, answers in ((data.chelsea(), CAT), (data.coffee(), ESPRESSO)):
        x = torch.tensor(picture).permute(2, 0, 1)[None].float()
        low = (x.shape[3] - x.shape[2]) // 2
        side = x.shape[2]
        x = torch.nn.functional.interpolate(
            x[..., low : low + side], size=(224, 224), mode="bilinear", antialias=True
        )
        features = encoder((x - 127) / 128)[:, 0]
        logits = features @ stored["classifier.weight"].T + stored["classifier.bias"]
        assert int(logits.argmax()) in answers


def test_a_grey_image_is_taken_as_each_colour_and_other_channel_counts_are_refused(encoder_of):
    encoder = encoder_of("efficientnet-lite0").eval()
    image = torch.randn(2, 1, 32, 32)
    assert torch.equal(encoder(image), encoder(image.repeat(1, 3, 1, 1)))
    with pytest.raises(
        UserError, match="channels is 2 and the encoder 'efficientnet-lite0' takes 3"
    ):
        encoder_of("efficientnet-lite0", channels=2)
