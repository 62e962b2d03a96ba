"""Every model is shown every kind of scan, and the table says what it answered."""

import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.quality import AMBER, RED, Quality, ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.studies import foreign_inputs
from MedLLMSegLib.studies.foreign_inputs import Answer, answer_of, page_part, write_page
from MedLLMSegLib.studies.foreign_scans import (
    HEARTS,
    OTHER_HEADS,
    OWN,
    PHANTOMS,
    ForeignScan,
    foreign_scans,
)
from Testing.helpers.places import DATA

FOUND = Segmentation(Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4), "scan"), ())
GREEN_LIGHT = ScanQuality(Quality())


def test_the_clearest_word_of_a_result_is_its_answer():
    light = ScanQuality(Quality(AMBER, ("odd",)))
    far = DomainVerdict(True, 2.0, 1.0, "far")
    assert answer_of(replace(FOUND, quality=light, domain=far)) == ("outside", "far")
    assert answer_of(replace(FOUND, quality=light, notes=("a note",))) == ("amber", "odd")
    noted = replace(FOUND, quality=GREEN_LIGHT, notes=("a note",))
    assert answer_of(noted) == ("green with a note", "a note")
    assert answer_of(replace(FOUND, quality=GREEN_LIGHT)) == ("green", "")
    assert answer_of(FOUND) == ("no light", "")


def scan(name, kind):
    return ForeignScan(name, kind, lambda: FOUND.labels)


def test_the_table_counts_and_names_what_is_foreign_and_silent():
    own, other = scan("anna", HEARTS), scan("ct", "chest")
    said = [
        Answer(own, "green", ""),
        Answer(other, "green with a note", ""),
        Answer(other, "refused", "no"),
    ]
    part = page_part({"cardiac-cine-mr": said})
    assert f"| {HEARTS} | *its own:* 1 green |" in part
    assert "| chest | 1 refused, 1 green with a note |" in part
    assert 'of 2 foreign scans 1 have a green light: chest: ct ("")' in part
    silent = page_part({"cardiac-cine-mr": said[:1] + said[2:]})
    assert "none has a green light" in silent
    far = [Answer(other, "red", "", 0.9), Answer(other, "outside", "", 1.234)]
    assert "| chest | 1 outside, 1 red (0.90 to 1.23) |" in page_part({"cardiac-cine-mr": far})
    partly = page_part({"cardiac-cine-mr": said, "brain-mr": said[:1]})
    assert "| chest | 1 refused, 1 green with a note | not shown yet |" in partly


def test_it_goes_on_where_it_was_and_asks_anew_what_judges_otherwise(tmp_path, monkeypatch):
    asked = []

    def segment(volume, model, precision):
        asked.append(volume)
        if len(asked) == 1:
            raise UserError("No brain was found.")
        return replace(FOUND, quality=ScanQuality(Quality(RED, ("wrong",))))

    class Judge:
        digest = "1"

    class Model:
        sha256, quality, domain, trained_range = "a" * 64, None, None, None

        class entry:
            id = "brain-mr"

    monkeypatch.setattr(foreign_inputs, "segment", segment)
    scans = [scan("one", "chest"), scan("two", "chest")]
    for _ in range(2):
        answers = foreign_inputs.measure(scans, Model(), tmp_path)
    assert len(asked) == 2
    assert [a.answer for a in answers] == ["refused", "red"]
    assert answers[0].says == "No brain was found."
    model = Model()
    model.domain = Judge()
    foreign_inputs.measure(scans, model, tmp_path)
    assert len(asked) == 3  # a refusal hangs on the model alone
    model.domain = Model.quality
    assert len(foreign_inputs.finished(scans, model, tmp_path)) == 1


def test_the_page_keeps_what_is_written_by_hand(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# A\n\n{foreign_inputs.BEGIN}\nold\n{foreign_inputs.END}\n\nend\n")
    write_page(page, "new")
    assert page.read_text() == (
        f"# A\n\n{foreign_inputs.BEGIN}\n\nnew\n\n{foreign_inputs.END}\n\nend\n"
    )
    page.write_text("nothing\n")
    with pytest.raises(UserError, match="has no lines"):
        write_page(page, "new")


@pytest.mark.parametrize("name", PHANTOMS)
def test_phantoms_are_the_same_each_time(name):
    one, other = PHANTOMS[name](), PHANTOMS[name]()
    assert one.dtype == np.float32 and one.std() > 0
    assert np.array_equal(one, other)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA}: NO LIST OF FOREIGN SCANS WAS TESTED")
def test_every_kind_of_a_model_is_among_the_scans_and_of_the_test():
    scans = list(foreign_scans(DATA))
    assert {kind for kinds in OWN.values() for kind in kinds} - {OTHER_HEADS} <= {
        s.kind for s in scans
    }
    assert len({s.key for s in scans}) == len(scans)
    tested = json.loads((DATA / "acdc/splits.json").read_text())["test"]
    assert all(s.name.split("_")[0] in tested for s in scans if s.kind == HEARTS)


def test_other_mistakes_are_one_sentence(tmp_path, capsys):
    for arguments in (["--data", str(tmp_path)], ["--data", str(tmp_path), "--more", "here"]):
        assert foreign_inputs.main([*arguments, "--output", str(tmp_path / "o")]) == 2
        said = capsys.readouterr().err
        assert said.startswith("foreign_inputs: ") and said.count("\n") == 1
