"""The study on a made-up chest: its parts, its calls, its arms and its page."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.studies.emboli import recipe, study
from MedLLMSegLib.studies.emboli.__main__ import main
from MedLLMSegLib.studies.emboli.clots import CENTRAL, SEGMENTAL
from MedLLMSegLib.studies.emboli.detect import (
    Calls,
    apart,
    find_calls,
    known_where_untouched,
    low_volume,
    network_scorer,
    pooled,
)
from MedLLMSegLib.studies.emboli.figures import false_calls, silent_calls, stored_false
from MedLLMSegLib.studies.emboli.network import READERS, SliceReader
from MedLLMSegLib.studies.emboli.page import write_page
from MedLLMSegLib.studies.emboli.page_texts import limits, method
from MedLLMSegLib.studies.emboli.parts import parts_of
from MedLLMSegLib.studies.emboli.study import LABEL, SCAN, Emboli
from MedLLMSegLib.studies.emboli.study_names import ARMS, PAGE, PICTURE, RESULTS, SIDES
from MedLLMSegLib.studies.emboli.windows import SIDE, SLICES, cut, windowed
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.studies.study.runs import Run
from MedLLMSegLib.studies.study.study import Task
from MedLLMSegLib.training.loop_config import LoopConfig
from Testing.helpers.made_up_chest import artery_label, chest_volume, patient

DOCS = Path(__file__).parents[3] / "docs"


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


def test_near_chances_are_added_and_far_ones_are_not(touched):
    """Voxels of 1.5 mm: the second place is 4.5 mm from the first, the third 9 mm."""
    places = np.array([[10, 10, 10], [10, 10, 13], [10, 16, 10]])
    chances = np.array([0.5, 0.25, 0.125])
    score = pooled(lambda scan, places: np.log(chances / (1 - chances)))
    assert score(touched, places) == pytest.approx([0.75, 0.75, 0.125])


class Darkness(nn.Module):
    """A tiny network: how far the middle of the window is from blood."""

    def __init__(self, reader="lstm"):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, windows):  # (B, SLICES, 2, SIDE, SIDE) -> (B,)
        middle = windows[:, SLICES // 2, 0, SIDE // 2, SIDE // 2]
        return self.slope * (0.25 - (middle - 0.5).abs())


def plain_scores(person, scan, zone):
    """Of each searched place, what `Darkness` and the sum of its near chances come to."""
    places = np.argwhere(scan.searched & zone)
    places = places[places.sum(1) % 2 == 0]
    top = person.contrast.artery_hu + 2 * person.contrast.artery_sd
    grey = np.clip(scan.hu[tuple(places.T)] / top, 0, 1).astype(np.float16).astype(float)
    chances = 1 / (1 + np.exp(-20 * (0.25 - np.abs(grey - 0.5))))
    return (cdist(places * 1.5, places * 1.5) <= 5.5) @ chances


@pytest.mark.slow
def test_a_network_is_tested_at_the_highest_score_of_the_part_that_does_not_test(
    folder, tmp_path, monkeypatch
):
    """Scores of the untouched scan are kept, and summed over near places; all calls are counted."""
    monkeypatch.setattr(study, "SliceReader", Darkness)
    monkeypatch.setattr(study, "fill_best", lambda network, folder: None)
    emboli = Emboli(folder, tmp_path, LoopConfig(), {"train": 1, "val": 1, "test": 2}, (0,))
    run = Run("cnn-lstm", 0, "left")
    task = Task(run, None, tmp_path, Progress())
    found = emboli._measured(emboli.scorer(run, tmp_path), task)
    parts = emboli.parts("left")
    untouched = plain_scores(emboli.patient, emboli.untouched, parts.chosen_on)
    of_val = plain_scores(emboli.patient, emboli.untouched, parts.val)
    assert found["threshold"] == pytest.approx(untouched.max(), abs=1e-3)
    assert found["threshold_of_val"] == pytest.approx(of_val.max(initial=0), abs=1e-3)
    assert found["threshold_of_val"] <= found["threshold"]
    scans = emboli.touched("left", "test")
    best = [plain_scores(emboli.patient, scan, parts.test).max() for scan in scans]
    called = [each["score"] for each in found["lesions"] if each["score"] is not None]
    assert max([*called, found["false"][0]]) == pytest.approx(max(best), abs=1e-3)
    assert len(found["false"]) == min(found["false_total"], stored_false(2))
    assert found["false_above"] == sum(score > found["threshold"] for score in found["false"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data = tmp_path_factory.mktemp("angio")
    save_volume(chest_volume(), data / SCAN)
    save_volume(artery_label(), data / LABEL)
    return data


def test_calls_are_counted_beyond_those_that_are_stored(touched, tmp_path, monkeypatch):
    """Two scans with 300 false calls each, of which the list of the highest holds 17."""
    scores = {"train and val": [3.0, 2.0], "val": [2.0], "untouched": [5.0] * 120 + [1.0]}

    def fake_calls(scan, zone, scorer):
        of_scan = [4.0] * 300 + [2.0] if scan is touched else scores[zone]
        return Calls(np.zeros((0, 3)), np.array(of_scan), np.zeros(len(of_scan), int))

    monkeypatch.setattr(study, "find_calls", fake_calls)
    emboli = Emboli(tmp_path, tmp_path, LoopConfig(), {"test": 2}, (0,))
    emboli.untouched = "untouched"
    zones = SimpleNamespace(chosen_on="train and val", val="val", test="untouched")
    monkeypatch.setattr(emboli, "parts", lambda trains: zones)
    emboli._touched["left", "test"] = [touched, touched]
    found = emboli._measured(low_volume, Task(Run("low-hu", 0, "left"), None, tmp_path, Progress()))
    assert (found["threshold"], found["threshold_of_val"]) == (3.0, 2.0)
    assert silent_calls(found) == 120
    assert false_calls(found) == 300
    assert found["false_total"] == 602
    assert found["false"] == [4.0] * 17
    assert [lesion["score"] for lesion in found["lesions"]] == [None] * 2 * len(touched.clots)


@pytest.mark.slow
def test_a_small_study_runs_goes_on_and_writes_its_page(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "VAL_EACH", 8)
    monkeypatch.setattr(study, "SliceReader", Darkness)  # a real one takes long here
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
    (tmp_path / PICTURE).parent.mkdir()
    (tmp_path / PICTURE).write_bytes((DOCS / PICTURE).read_bytes())
    page = write_page(DOCS / RESULTS, tmp_path).read_text(encoding="utf-8")
    assert page == (DOCS / PAGE).read_text(encoding="utf-8")
    stored = json.loads((DOCS / RESULTS).read_text(encoding="utf-8"))
    finished = [arm for arm in ARMS if arm != "cnn-slice"]
    assert set(stored["runs"]) >= {f"{arm}-{side}-0" for arm in finished for side in SIDES}


def test_a_list_and_a_page_of_stored_results_read_no_scan(tmp_path):
    results = StudyResults(tmp_path / RESULTS)
    scans = {"train": 1, "val": 1, "test": 1}
    emboli = Emboli(tmp_path / "no such data", tmp_path / "runs", LoopConfig(), scans, (0,))
    with pytest.raises(UserError, match="no such data"):
        emboli.study(results)
    results.put("scan", {"artery_hu": 500})
    results.put("settings", emboli.settings())
    assert len(emboli.study(results).planned()) == 2 * len(ARMS)


def test_a_page_made_again_from_elsewhere_keeps_the_command_of_its_runs(tmp_path):
    (tmp_path / RESULTS).write_bytes((DOCS / RESULTS).read_bytes())
    options = ["--page", "--seeds", "1", "--data", str(tmp_path / "no such data")]
    folders = ["--docs", str(tmp_path), "--output", str(tmp_path / "runs")]
    assert main([*options, *folders]) == 0
    assert (tmp_path / RESULTS).read_bytes() == (DOCS / RESULTS).read_bytes()
    assert "--data ../shared/data" in (tmp_path / PAGE).read_text(encoding="utf-8")


def test_what_was_seen_at_earlier_looks_belongs_to_its_settings():
    """It is read from the results, and left out beside those of other settings."""
    stored = json.loads((DOCS / RESULTS).read_text(encoding="utf-8"))
    looks = stored["earlier"]["looks"]
    assert f"tested {len(looks)} times before" in method(stored)
    assert stored["earlier"]["seen_at_the_trunk"] in limits(stored)
    other = stored | {"settings": stored["settings"] | {"steps": 1}}
    assert "Earlier looks" not in method(other)
    assert stored["earlier"]["seen_at_the_trunk"] not in limits(other)
    assert "Earlier looks" not in method({k: v for k, v in stored.items() if k != "earlier"})


def test_the_page_says_where_its_pixels_come_from_and_what_its_figures_leave_open():
    page = (DOCS / PAGE).read_text(encoding="utf-8")
    assert "Apache-2.0 and CC BY 3.0" in page[page.index(f"({PICTURE})") :]
    assert "nothing below 1 false call a scan" in page
    assert "trained the network, as places without a defect" in page


def test_whether_training_voxels_set_the_threshold_is_read_from_the_runs(tmp_path):
    stored = json.loads((DOCS / RESULTS).read_text(encoding="utf-8"))
    assert "the slab alone gives the same thresholds" in (DOCS / PAGE).read_text(encoding="utf-8")
    stored["runs"]["cnn-lstm-left-0"]["threshold_of_val"] -= 1
    (tmp_path / RESULTS).write_text(json.dumps(stored), encoding="utf-8")
    page = write_page(tmp_path / RESULTS, tmp_path).read_text(encoding="utf-8")
    assert "In 1 of the 6 trainings the highest score lies in what trained" in page
