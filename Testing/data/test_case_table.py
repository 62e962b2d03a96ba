"""Cases listed in a CSV table, as spreadsheets save it."""

from pathlib import Path

import pytest

from MedLLMSegLib import UserError, save_volume
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import read_cases
from Testing.helpers.labelled_files import GRID, add_volume, labels_of, table_row


def test_a_column_patient_is_the_group(tmp_path):
    for name in "abc":
        add_volume(tmp_path / f"scans/{name}.nrrd")
        save_volume(Volume(labels_of(), GRID), tmp_path / f"scans/{name}_labels.nrrd")
    rows = "".join(
        f"scans/{name}.nrrd,scans/{name}_labels.nrrd,{patient}\n"
        for name, patient in zip("abc", ("p", "p", "q"), strict=True)
    )
    (tmp_path / "cases.csv").write_text("image,label,Patient\n" + rows)
    assert [case.group for case in read_cases(tmp_path / "cases.csv").cases] == ["p", "p", "q"]


def test_a_table_with_relative_paths_and_groups(table, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)  # paths start at the table's folder, not here
    found = read_cases(
        table(
            "image,label,group\n"
            + table_row("a", "anna")
            + table_row("b", "anna")
            + "\n"
            + table_row("c", "ben")
        )
    )
    assert [(c.id, c.group) for c in found.cases] == [("a", "anna"), ("b", "anna"), ("c", "ben")]
    assert found.cases[0].image == tmp_path / "scans/a.nrrd"
    assert found.labels == {
        1: "label_1",
        2: "label_2",
    }
    assert found.splits is None


def test_a_table_as_a_spreadsheet_saves_it(table, tmp_path):
    text = "Image;Label;ID;Split;remark\n" + "".join(
        f"{tmp_path}/scans/{name}.nrrd;{tmp_path}/scans/{name}_labels.nrrd;case {name}; {split}"
        " ;x\n"
        for name, split in zip("abc", ("train", "val", "test"), strict=True)
    )
    found = read_cases(table(text, "utf-8-sig"))
    assert found.splits == {"train": ("case a",), "val": ("case b",), "test": ("case c",)}
    assert [c.group for c in found.cases] == [
        "case a",
        "case b",
        "case c",
    ]  # alone, as nothing else is said


def test_only_ends_of_line_end_a_row(table):
    """Not what else Unicode calls one, nor a line break within quotes; rows are counted as a
    spreadsheet counts them.
    """
    text = (
        "image,label,group,remark\n"
        + table_row("a", "anna\u2028b", "x\x85y")
        + table_row("b", "ben", '"two\nlines"')
    )
    assert [c.group for c in read_cases(table(text)).cases] == ["anna\u2028b", "ben"]
    with pytest.raises(UserError, match=r"Row 4 of .* has no label"):
        read_cases(table(text + "scans/c.nrrd\n"))


def test_a_quote_that_is_never_closed_is_one_sentence(table):
    with pytest.raises(UserError, match="could not be read; save it as CSV"):
        read_cases(table("image,label\n" + table_row("a") + '"' + "x" * 200_000))


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("image,labels\n" + table_row("a"), 'no column "label"'),
        ("", 'no column "image"'),
        ("image,label\n", "no labelled case"),
        (
            "image,label\n" + table_row("a") + table_row("gone"),
            'Row 3 of .* names the image "scans/gone.nrrd", and there is no file',
        ),
        (
            "image,label\n" + table_row("a") + "\nscans/b.nrrd,scans/x.nrrd\n",
            "Row 4 of .* names the label",
        ),
        ("image,label\n" + table_row("a") + "scans/b.nrrd\n", "Row 3 of .* has no label"),
        (
            "image,label\n" + table_row("a") + table_row("b") + table_row("a"),
            'Rows 2 and 4 of .* both called "a"',
        ),
        (
            "image,label,id\n" + table_row("a", "x") + table_row("b", "x"),
            'Rows 2 and 3 of .* both called "x"',
        ),
        (
            "image,label,group,split\n"
            + table_row("a", "p", "train")
            + table_row("b", "q", "val")
            + table_row("c", "p", "val"),
            'group "p" is in two splits of .*row 2 says train, row 4 says val',
        ),
        (
            "image,label,split\n" + table_row("a", "train") + table_row("b", "validate"),
            'Row 3 of .* has the split "validate"',
        ),
        (
            "image,label,split\n" + table_row("a", "train") + table_row("b", ""),
            "Row 3 of .* has no split",
        ),
    ],
)
def test_a_table_that_cannot_be_used_names_the_row(table, text, sentence):
    with pytest.raises(UserError, match=sentence):
        read_cases(table(text))
