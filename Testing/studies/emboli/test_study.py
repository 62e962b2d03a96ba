"""The study on a made-up chest: its parts, its calls, its arms and its page."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.studies.emboli import recipe, study
from MedLLMSegLib.studies.emboli.clots import CENTRAL, SEGMENTAL
from MedLLMSegLib.studies.emboli.detect import (
    apart,
    find_calls,
    known_where_untouched,
    low_volume,
    network_scorer,
)
from MedLLMSegLib.studies.emboli.network import READERS, SliceReader
from MedLLMSegLib.studies.emboli.page import write_page
from MedLLMSegLib.studies.emboli.parts import parts_of
from MedLLMSegLib.studies.emboli.study import LABEL, SCAN, Emboli
from MedLLMSegLib.studies.emboli.study_names import ARMS, PAGE, PICTURE, RESULTS, SIDES
from MedLLMSegLib.studies.emboli.windows import SIDE, SLICES, cut, windowed
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.training.loop_config import LoopConfig
from Testing.helpers.made_up_chest import artery_label, chest_volume, patient


@pytest.fixture(scope="module")
def person():
    return patient()


@pytest.fixture(scope="module")
def touched(person):
    zone = parts_of(person.vessels.label, "left").test
    return person.with_clots(zone, {CENTRAL: 1, SEGMENTAL: 2}, 3)


@pytest.mark.parametrize("side", SIDES)
def test_no_window_of_one_part_shows_a_voxel_of_anothers(person, side):
    parts = parts_of(person.vessels.label, side)

    def seen(mask):
        k, _, i = (np.unique(places) for places in np.nonzero(mask))
        rows = {int(n) + d for n in k for d in range(-(SLICES // 2), SLICES // 2 + 1)}
        return rows, {int(n) + d for n in i for d in range(-(SIDE // 2), SIDE - SIDE // 2)}

    assert not seen(parts.test)[1] & seen(parts.train | parts.val)[1]
    assert not seen(parts.train)[0] & seen(parts.val)[0]
    left = np.nonzero(parts_of(person.vessels.label, "left").train)[2]
    right = np.nonzero(parts_of(person.vessels.label, "right").train)[2]
    assert left.max() < right.min()  # i leads to the right


def test_a_scan_without_room_is_refused():
    label = np.zeros((12, 20, 24), bool)
    label[4:8, 8:12, 8:16] = True
    with pytest.raises(UserError, match="too small around the pulmonary artery"):
        parts_of(label, "left")


def test_a_window_is_cut_around_its_place(person):
    hu = np.zeros((9, 12, 14))
    hu[4, 5, 6] = 300
    images = windowed(hu, person.contrast)
    window = cut(images, np.array([[4, 5, 6]]))[0]
    assert window.shape == (SLICES, 2, SIDE, SIDE)
    assert np.argwhere(window[:, 0]).tolist() == [[SLICES // 2, SIDE // 2, SIDE // 2]]
    assert cut(images, np.array([[0, 0, 0], [8, 11, 13]])).shape[0] == 2  # at the corners too


@pytest.mark.parametrize("reader", READERS)
def test_what_each_network_sees(reader):
    torch.manual_seed(0)
    network = SliceReader(reader).eval()
    window = torch.rand(1, SLICES, 2, SIDE, SIDE)
    upside_down = window.flip(1)
    first_changed = window.clone()
    first_changed[:, 0] = 0
    with torch.no_grad():
        plain, flipped, changed = map(network, (window, upside_down, first_changed))
    assert plain.shape == (1,)
    assert torch.allclose(plain, flipped, atol=1e-6) == (reader != "lstm")
    assert torch.equal(plain, changed) == (reader == "middle")


def test_of_near_calls_the_highest_stays():
    points = np.array([[0.0, 0, 0], [0, 0, 5], [0, 0, 12], [0, 0, 40]])
    assert apart(points, np.array([1.0, 3.0, 2.0, 0.5]), 9.0).tolist() == [1, 3]
    assert sorted(apart(points, np.array([1.0, 0.0, 2.0, 0.5]), 9.0).tolist()) == [0, 2, 3]


def test_the_baseline_calls_a_large_clot_and_nothing_in_a_clean_artery(person, touched):
    zone = parts_of(person.vessels.label, "left").test
    central = 1 + [clot.kind for clot in touched.clots].index(CENTRAL)
    calls = find_calls(touched, zone, low_volume)
    best = calls.scores[calls.clots == central].max()
    clean = find_calls(person.with_clots(zone, {}, 0), zone, low_volume)
    assert best > 20
    assert best > 2 * clean.scores.max(initial=0)
    assert set(calls.clots) <= set(range(len(touched.clots) + 1))


def test_scores_known_from_the_untouched_scan_are_the_same_scores(person, touched):
    torch.manual_seed(0)
    plain = network_scorer(SliceReader("lstm").eval(), torch.device("cpu"))
    untouched = person.with_clots(np.ones(touched.hu.shape, bool), {}, 0)
    quick = known_where_untouched(plain, untouched)
    zone = parts_of(person.vessels.label, "left").test
    find_calls(untouched, zone, quick)
    places = np.argwhere(touched.searched & zone)[::5]
    assert np.allclose(quick(touched, places), plain(touched, places), atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data = tmp_path_factory.mktemp("angio")
    save_volume(chest_volume(), data / SCAN)
    save_volume(artery_label(), data / LABEL)
    return data


@pytest.mark.slow
def test_a_small_study_runs_goes_on_and_writes_its_page(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "VAL_EACH", 8)
    # What a network's scores are is tested above, and takes long here.
    monkeypatch.setattr(study, "network_scorer", lambda network, device: low_volume)
    loop = LoopConfig(steps=3, batch=4, validate_every=3, warmup_steps=1)
    scans = {"train": 1, "val": 1, "test": 1}
    emboli = Emboli(folder, tmp_path / "runs", loop, scans, (0,))
    results = StudyResults(tmp_path / RESULTS)
    planned = emboli.study(results)
    assert len(planned.planned()) == 2 * len(ARMS)
    assert planned.run("low-hu,cnn-lstm") == [
        f"{arm}-{side}-0" for arm in ("cnn-lstm", "low-hu") for side in SIDES
    ]
    assert planned.run("low-hu,cnn-lstm") == []  # goes on: nothing is left
    run = results.runs["cnn-lstm-left-0"]
    assert len(run["lesions"]) >= 2
    assert run["test_scans"] == 1
    page = write_page(results.path, tmp_path).read_text(encoding="utf-8")
    assert "Nobody's emboli were seen" in page
    assert "not run" in page  # the controls
    assert "`low-hu` (trivial: " in page
    other = Emboli(folder, tmp_path / "runs", LoopConfig(steps=4), scans, (0,))
    with pytest.raises(UserError, match="holds runs with steps = 3"):
        other.study(StudyResults(tmp_path / RESULTS))


def test_the_page_is_made_from_the_stored_results(tmp_path):
    docs = Path(__file__).parents[3] / "docs"
    (tmp_path / PICTURE).parent.mkdir()
    (tmp_path / PICTURE).write_bytes((docs / PICTURE).read_bytes())
    page = write_page(docs / RESULTS, tmp_path).read_text(encoding="utf-8")
    assert page == (docs / PAGE).read_text(encoding="utf-8")
    stored = json.loads((docs / RESULTS).read_text(encoding="utf-8"))
    finished = [arm for arm in ARMS if arm != "cnn-slice"]
    assert set(stored["runs"]) >= {f"{arm}-{side}-0" for arm in finished for side in SIDES}
