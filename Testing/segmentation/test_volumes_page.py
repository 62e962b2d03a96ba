"""The page over all scans of a batch: the table's cells, and links to the reports."""

from pathlib import Path

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.segmentation.batch.outputs import OutputPaths
from MedLLMSegLib.segmentation.batch.result_folder import ResultFolder
from MedLLMSegLib.segmentation.batch.volumes_page import volumes_page
from MedLLMSegLib.segmentation.batch.volumes_table import ScanResult

RECORD = {
    "model": "tiny",
    "structures": [{"key": "left_one", "volume_ml": 1.25}],
    "files": ["out/a.nii.gz", "out/a_report/report.html"],
    "written": {"/home/out/a.nii.gz": [1, 2], "/home/out/a_report/report.html": [1, 2]},
}
RESULTS = [
    ScanResult(Path("in/a.nii.gz"), "done", RECORD),
    ScanResult(Path("in/b<2>.nii.gz"), "failed", {}, 'the file "b" is empty'),
]


def test_each_scan_has_a_row_and_leads_to_its_report(tmp_path):
    write_text(tmp_path / "a_report" / "report.html", "")
    page = volumes_page(RESULTS, tmp_path)
    row = '<td><a href="a_report/report.html">in/a.nii.gz</a></td><td>done</td><td>tiny</td>'
    assert row + "<td>1.25</td>" in page
    assert "<td>in/b&lt;2&gt;.nii.gz</td><td>failed</td>" in page
    assert "the file &quot;b&quot; is empty" in page
    assert "<th>left one ml</th>" in page and "1 done, 0 skipped, 1 failed" in page


def test_the_link_holds_whatever_the_name_and_wherever_the_earlier_run_was_started(tmp_path):
    report = tmp_path / "sub-1" / "a #1 50%_report" / "report.html"
    write_text(report, "")
    record = {**RECORD, "files": ["../x/report.html"], "written": {str(report.resolve()): [1, 2]}}
    link = '<a href="sub-1/a%20%231%2050%25_report/report.html">'
    assert link in volumes_page([ScanResult(Path("a"), "done", record)], tmp_path)
    moved = tmp_path.rename(tmp_path.with_name("moved here"))
    assert link in volumes_page([ScanResult(Path("a"), "done", record)], moved)
    (moved / "sub-1" / "a #1 50%_report" / "report.html").unlink()
    assert "<a " not in volumes_page([ScanResult(Path("a"), "done", record)], moved)


def test_it_is_written_where_there_is_a_report(tmp_path):
    place = ResultFolder(tmp_path)
    plain = [ScanResult(Path("a"), "done", {**RECORD, "files": ["out/a.nii.gz"]})]
    place.finish([(Path("a"), OutputPaths(()))], plain)
    assert [p.name for p in tmp_path.iterdir()] == ["volumes.csv"]
    write_text(tmp_path / "a_report" / "report.html", "")
    place.finish([(result.scan, OutputPaths(())) for result in RESULTS], RESULTS)
    assert (tmp_path / "volumes.html").read_text() == volumes_page(RESULTS, tmp_path)
    place.check()  # it may be written anew


def test_a_page_of_somebody_else_is_spared(tmp_path):
    (tmp_path / "volumes.html").write_text("<p>mine</p>")
    with pytest.raises(UserError, match="is not one of our pages"):
        ResultFolder(tmp_path).check()
