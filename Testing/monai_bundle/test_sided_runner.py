"""A network of structures and sides in MONAI's own runner gives what `medllmseg segment` gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from MedLLMSegLib import Volume, save_volume
from MedLLMSegLib.anatomy.brain import brain_label_table
from MedLLMSegLib.monai_bundle import sided_runner
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import INFERENCE, read_bundle, rewrite_texts
from MedLLMSegLib.registry.monai_inference import inference_config
from MedLLMSegLib.segmentation import brain_checks
from MedLLMSegLib.segmentation.prepare import normalise
from MedLLMSegLib.training.small_checkpoint import SmallCheckpoint
from MedLLMSegLib.training.synthesis.brain_bundle import BrainTraining, export_brain
from Testing.helpers.monai_runs import assert_same, by_monai, by_us
from Testing.training.synthesis.test_train_brain import TINY

pytestmark = [
    pytest.mark.usefixtures("brain_of_any_shape"),
    # MONAI says at each run that it evaluates the file.
    pytest.mark.filterwarnings("ignore:parsing config_file"),
]

NO_BLOCK = replace(TINY, llm=None)
# Along R, A, S. No fractions of the network's 1 mm: halves make ties, which round-off decides.
SPACING_MM = np.array([1.93, 2.57, 2.21])


def brain_array():
    """Noise in a ball that lies off the middle of a quiet field, float32 [k, j, i]."""
    k, j, i = np.ogrid[:40, :44, :48]
    ball = (k - 17) ** 2 + (j - 20) ** 2 + (i - 22) ** 2 < 12**2
    noise = np.random.default_rng(3).normal(100, 30, ball.shape)
    return np.where(ball, noise, 20).astype(np.float32)


def matrix_of(axes_ijk, spacing):
    """ijk_to_ras of a scan whose axes are stored in another order and partly backwards."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, list(axes_ijk)] * np.array([-1, 1, 1])[list(axes_ijk)] * spacing
    matrix[:3, 3] = 40.3, -35.1, -20.7
    return matrix


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Random weights, whose background wins where nothing is."""
    torch.manual_seed(4)
    network = build_network(NO_BLOCK, None).eval()
    quiet = torch.from_numpy(normalise(brain_array()))[None, None]
    with torch.inference_mode():
        network.decoder.head.queries.mul_(4)
        corner = network(quiet)[0, : NO_BLOCK.classes, 2, 2, 2]
        network.decoder.head.bias[0] += corner.max() - corner[0] + 10
    tensors = {name: t.clone() for name, t in network.state_dict().items()}
    folder = tmp_path_factory.mktemp("sided")
    maps = folder / "maps"
    maps.mkdir()
    save_volume(
        Volume(np.eye(4, dtype=np.int16)[None].repeat(4, 0), np.eye(4), "one"), maps / "one.nii.gz"
    )
    (maps / "splits.json").write_text('{"train": ["one"], "val": ["one"]}')
    checkpoint = SmallCheckpoint(tensors, tensors, step=1, seconds=1.0)
    training = BrainTraining(checkpoint, NO_BLOCK, "A", seed=1)
    return export_brain(training, folder / "brain", maps)


def with_settings(bundle, **more):
    """The same bundle with other settings, in place."""
    metadata = read_bundle(bundle).metadata
    metadata = {**metadata, "preprocessing": {**metadata["preprocessing"], **more}}
    return rewrite_texts(bundle, metadata, inference=inference_config(metadata))


@pytest.fixture(autouse=True)
def a_small_brain_will_do(monkeypatch):
    """What random weights find in a small scan has a few mL."""
    monkeypatch.setattr(brain_checks, "LEAST_BRAIN_ML", 0.0)


@pytest.fixture
def looks(monkeypatch):
    """The boxes of the closer looks, None where there was none."""
    real, boxes = sided_runner.closer_box, []
    monkeypatch.setattr(sided_runner, "closer_box", lambda *a: boxes.append(real(*a)) or boxes[-1])
    return boxes


def own_scale():
    """Mean and deviation of the test's scan."""
    clipped = brain_array().clip(0, 140)
    return [float(clipped.mean()), float(clipped.std())]


SETTINGS = {
    "as shipped": {},
    "in windows": {"whole_vox": 0, "window": [32, 48, 40]},
    "one look": {"closer_look_mm": None},
    "every part": {"keep_largest": False},
    "one scale": {"grey": [0.0, 140.0, *own_scale()], "keep_largest": False},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_label_map_is_ours(name, bundle, looks, tmp_path):
    scan = Volume(brain_array(), matrix_of((2, 0, 1), SPACING_MM[[2, 0, 1]]))
    path = save_volume(scan, tmp_path / "head.nii.gz")
    before = read_bundle(bundle).metadata["preprocessing"]
    with_settings(bundle, **SETTINGS[name])
    try:
        ours = by_us(bundle, path, tmp_path / "ours.nii.gz")
        assert_same(by_monai(bundle, path, tmp_path), ours)
    finally:
        with_settings(bundle, **{**dict.fromkeys(SETTINGS[name]), **before})
    assert [box is None for box in looks] == [name == "one look"]
    found = set(np.unique(ours.array)) - {0}
    table = brain_label_table()
    paired = table[:, 0] != table[:, 1]
    assert len(found) > 4
    assert found & set(table[paired, 0].tolist())
    assert found & set(table[paired, 1].tolist())


def test_a_scan_is_the_same_however_its_axes_are_stored(bundle, tmp_path):
    """Both runners bring it into one order first."""
    maps, prepared = [], []
    for axes in ((0, 1, 2), (1, 2, 0)):
        array = brain_array()
        order = [2 - axis for axis in axes[::-1]]  # of (k, j, i)
        scan = Volume(
            np.ascontiguousarray(array.transpose(order)), matrix_of(axes, SPACING_MM[list(axes)])
        )
        path = save_volume(scan, tmp_path / f"{axes[0]}.nii.gz")
        found = by_monai(bundle, path, tmp_path)
        assert_same(found, by_us(bundle, path, tmp_path / f"ours{axes[0]}.nii.gz"))
        maps.append(found.array.transpose(np.argsort(order)))
        workflow = ConfigWorkflow(
            str(bundle / INFERENCE), workflow_type="infer", bundle_root=str(bundle), scan=str(path)
        )
        workflow.initialize()
        prepared.append(workflow.dataset[0]["image"].numpy())
    assert np.array_equal(*maps)
    assert np.array_equal(*prepared)  # to the last bit


def test_the_card_and_the_configuration_of_the_bundle_agree(bundle):
    card = " ".join((bundle / "docs/README.md").read_text().split())
    assert "python -m monai.bundle run" in card
    assert "a scan without a brain is not refused" in card
    assert (bundle / INFERENCE).exists()
