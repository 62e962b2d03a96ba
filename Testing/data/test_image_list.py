"""Images of a folder or table, labelled or not."""

import json

import numpy as np
import pytest
from PIL import Image

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.data.image_list import list_images


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.png", ".hidden.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    return tmp_path


def ids(images):
    return [image.id for image in images]


def test_a_folder_without_a_table_gives_its_images_each_of_a_person_of_its_own(folder):
    images = list_images(folder)
    assert ids(images) == ["a.png", "b.png"]
    assert [image.group for image in images] == ["a.png", "b.png"]


def test_a_table_needs_no_classes_and_its_splits_may_have_any_name(folder):
    text = "image,patient,split,age\na.png,p1,adapt,4\nb.png,p2,test,5\n"
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    (one,) = list_images(folder, "adapt")
    assert (one.id, one.group, one.columns["age"]) == ("a.png", "p1", "4")
    assert ids(list_images(folder)) == ["a.png", "b.png"]


def test_splits_may_stand_in_a_file_beside_the_table(folder):
    (folder / "labels.csv").write_text("file,patient\na.png,p1\nb.png,p2\n", encoding="utf-8")
    (folder / "splits.json").write_text(json.dumps({"val": ["b.png"]}), encoding="utf-8")
    assert ids(list_images(folder, "val")) == ["b.png"]
    with pytest.raises(UserError, match='states no split "train"'):
        list_images(folder, "train")


def test_what_is_missing_is_named(folder):
    with pytest.raises(UserError, match='could state a split "val"'):
        list_images(folder, "val")
    with pytest.raises(UserError, match="no folder or table"):
        list_images(folder / "nowhere")
    (folder / "labels.csv").write_text("image\na.png\nc.png\n", encoding="utf-8")
    with pytest.raises(UserError, match=r'Row 3 .* names the image "c\.png"'):
        list_images(folder)
    (folder / "labels.csv").write_text("name\na.png\n", encoding="utf-8")
    with pytest.raises(UserError, match='no column "image"'):
        list_images(folder)
