"""The comparison of batches with one process and with several."""

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.io.volume_files import load_volume, save_volume
from MedLLMSegLib.studies.speed import many_scans
from MedLLMSegLib.studies.speed.many_scans import (
    Way,
    differences,
    measure,
    table,
    ways,
    write_scans,
)
from Testing.helpers.noise_volumes import noise_volume
from Testing.helpers.tiny_segmenter import tiny_bundle


def test_the_table_compares_with_the_first_way():
    one, _, two = ways(2)
    text = table([(one, [30.0, 32.0, 31.0]), (two, [20.0, 15.5, 10.0])], 60)
    assert "| one process, 1 thread | 31.0 | 30.0, 32.0, 31.0 | 1.00 |" in text
    assert "| 2 workers, 1 thread each | 15.5 | 20.0, 15.5, 10.0 | 2.00 |" in text


def test_tables_are_compared_cell_by_cell():
    table_text = "scan,ml,light\na,2.25,green\nb,1,\n"
    assert differences(table_text, table_text) == ""
    found = differences(table_text, table_text.replace("2.25", "2.251"))
    assert found == "1 of 6 cells differ, by 0.001 at most (ml)."
    found = differences(table_text, table_text.replace("2.25,green", "2.5,red"))
    assert found == "2 of 6 cells differ, by 0.25 at most (ml); words differ in light."
    found = differences(table_text, table_text.replace("green", "red"))
    assert found == "1 of 6 cells differ, in words alone."
    assert "same rows" in differences(table_text, "scan,ml,light\na,2.25,green\n")


def test_a_command_line_is_measured_and_its_table_kept(tmp_path):
    (tmp_path / "scans").mkdir()
    save_volume(noise_volume((6, 24, 20)), tmp_path / "scans" / "head.nii.gz")
    bundle = tiny_bundle(tmp_path / "tiny")
    seconds, volumes = measure(tmp_path, Way("one", 1), str(bundle))
    assert seconds > 0 and volumes.startswith("scan,status,model,one_ml")
    with pytest.raises(UserError, match=r"could not be measured: .*no model called"):
        measure(tmp_path, Way("one", 1), "nowhere")


def test_the_scans_are_one_head_with_noise_of_their_own(tmp_path, monkeypatch):
    pytest.importorskip("nilearn")
    write_scans(tmp_path / "scans", 2, 6.0)
    first, second = (load_volume(path) for path in sorted((tmp_path / "scans").iterdir()))
    assert first.spacing_mm == pytest.approx((6, 6, 6))
    assert (first.array != second.array).any()
    assert abs(first.array.mean() - second.array.mean()) < 0.02 * first.array.mean()

    def missing():
        raise many_scans.NotMeasured("no template")

    monkeypatch.setattr(many_scans, "template", missing)
    with pytest.raises(UserError, match="no template"):
        write_scans(tmp_path / "none", 1, 6.0)
