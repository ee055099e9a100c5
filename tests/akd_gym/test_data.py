"""Image sets: the embedded one, a user's own on disk, their splits, and what is refused."""

import gzip
import hashlib
import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import akd_gym.data
import akd_gym.image_loading
from akd_gym.data import DATA_NAMES, draw_split, load_data
from akd_gym.errors import DataError, InvalidSettingError, UnknownNameError
from akd_gym.image_sources import channel_scale, embedded_source_indices, pool_fingerprint, read_idx
from akd_gym.images import ImageSet


def write_idx(path: Path, array: np.ndarray) -> None:
    content = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 2 classes x 6 pictures of 20 x 30 pixels; class `b` is the brighter one."""
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for label, name in enumerate("ab"):
            folder = tmp_path / "pictures" / part / name
            folder.mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 100, (20, 30, 3), dtype=np.uint8) + 100 * label
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return tmp_path


def test_fashion_is_embedded_balanced_and_scaled() -> None:
    data = load_data(train_size=3000, val_size=1000)
    assert (data.num_classes, data.in_channels, data.resolution) == (10, 1, 28)
    assert data.train.labels.bincount().tolist() == [300] * 10
    assert data.val.labels.bincount().tolist() == [100] * 10
    assert data.test is not None
    assert data.test.labels.bincount().tolist() == [500] * 10
    whole = load_data()
    assert len(whole.train) + len(whole.val) == 12_000
    pixels = torch.cat([whole.train.images, whole.val.images])
    assert channel_scale(pixels) == (data.mean, data.std)
    assert pixels.float().div(255).mean().item() == pytest.approx(data.mean[0], abs=1e-4)
    assert pixels.float().div(255).std().item() == pytest.approx(data.std[0], abs=1e-4)


def test_fashion_fingerprint_is_that_of_its_pixels() -> None:
    whole = load_data()
    order = torch.cat([whole.train.indices, whole.val.indices]).argsort()
    images = torch.cat([whole.train.images, whole.val.images])[order]
    labels = torch.cat([whole.train.labels, whole.val.labels])[order]
    assert pool_fingerprint(images.numpy(), labels.numpy()) == whole.fingerprint


def test_fashion_source_indices_leave_48000_to_teachers() -> None:
    indices = embedded_source_indices()
    assert len(np.unique(indices)) == 12_000
    assert 0 <= indices.min() < indices.max() < 60_000


def test_splits_are_disjoint_seeded_and_nested() -> None:
    small, large = load_data(train_size=500, val_size=400), load_data(train_size=2000, val_size=400)
    assert not set(large.train.indices.tolist()) & set(large.val.indices.tolist())
    assert torch.equal(small.val.indices, large.val.indices)
    assert set(small.train.indices.tolist()) < set(large.train.indices.tolist())
    other = load_data(train_size=500, val_size=400, split_seed=1)
    assert not torch.equal(other.train.indices, small.train.indices)
    again = load_data(train_size=500, val_size=400)
    assert torch.equal(again.train.images, small.train.images)


def test_indices_point_into_the_pool() -> None:
    one, two = load_data(train_size=6000, val_size=100), load_data(train_size=6000, val_size=100, split_seed=9)
    shared = sorted(set(one.train.indices.tolist()) & set(two.train.indices.tolist()))[0]
    picture = [data.train.images[data.train.indices == shared] for data in (one, two)]
    assert torch.equal(*picture)


def test_stratified_draw_follows_class_sizes() -> None:
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    train, val = draw_split(labels, 200, 100, seed=4)
    assert labels[train].bincount().tolist() == [120, 60, 20]
    assert labels[val].bincount().tolist() == [60, 30, 10]


def test_resolution_rescales_and_changes_the_fingerprint() -> None:
    data = load_data(train_size=100, val_size=50, resolution=14, test_size=30)
    native = load_data(train_size=100, val_size=50)
    assert data.train.images.shape == (100, 1, 14, 14)
    assert data.test is not None
    assert len(data.test) == 30
    assert data.fingerprint != native.fingerprint
    halves = native.train.images.float().unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert (data.train.images.float() - halves).abs().mean() < 12  # about the mean of each 2 x 2 square


def test_image_folder_is_decoded_cropped_and_split(pictures: Path) -> None:
    said: list[str] = []
    data = load_data(f"imagefolder:{pictures}", train_size=6, val_size=4, resolution=16, announce=said.append)
    assert said == [f"Loading 22 images of imagefolder:{pictures} at 16 px: 0 MiB"]
    assert data.class_names == ("a", "b")
    assert data.train.images.shape == (6, 3, 16, 16)
    assert data.test is not None
    assert len(data.test) == 12
    brightness = data.train.images.float().mean((1, 2, 3))
    assert torch.equal((brightness > 100).long(), data.train.labels)
    assert len(data.mean) == len(data.std) == 3
    assert load_data(f"imagefolder:{pictures}", train_size=6, val_size=4).resolution == 20
    assert (
        load_data("imagefolder", root=pictures, train_size=6, val_size=4, resolution=16).fingerprint == data.fingerprint
    )


def test_image_folder_fingerprint_follows_the_pixels(pictures: Path) -> None:
    before = load_data(f"imagefolder:{pictures}").fingerprint
    Image.new("RGB", (20, 30), (1, 2, 3)).save(pictures / "train" / "a" / "0.png")
    assert load_data(f"imagefolder:{pictures}").fingerprint != before


def test_image_folder_without_train_is_all_pool(pictures: Path) -> None:
    data = load_data(f"imagefolder:{pictures / 'train'}")
    assert data.test is None
    assert len(data.train) + len(data.val) == 12


def test_full_fashion_mnist_from_idx_files(idx_folder: Path) -> None:
    data = load_data(f"fashion-mnist:{idx_folder}", train_size=40, val_size=20)
    assert data.train.images.shape == (40, 1, 28, 28)
    assert data.test is not None
    assert len(data.test) == 20
    raw = idx_folder / "torchvision" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in idx_folder.glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    same = load_data(f"fashion-mnist:{raw.parent.parent}", train_size=40, val_size=20)
    assert same.fingerprint == data.fingerprint


def test_cifar_is_read_through_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    listed = []
    for name in ("data_batch_1", "test_batch"):
        content = pickle.dumps({"data": rng.integers(0, 256, (30, 3072), dtype=np.uint8), "labels": [0, 1, 2] * 10})
        (folder / name).write_bytes(content)
        listed.append([name, hashlib.md5(content).hexdigest()])
    names = pickle.dumps({"label_names": ["cat", "dog", "frog"]})
    (folder / "batches.meta").write_bytes(names)
    monkeypatch.setattr(CIFAR10, "train_list", listed[:1])
    monkeypatch.setattr(CIFAR10, "test_list", listed[1:])
    monkeypatch.setitem(CIFAR10.meta, "md5", hashlib.md5(names).hexdigest())
    data = load_data(f"cifar10:{tmp_path}", train_size=20, val_size=10)
    assert data.class_names == ("cat", "dog", "frog")
    assert data.train.images.shape == (20, 3, 32, 32)
    (folder / "data_batch_1").write_bytes(b"damaged")
    with pytest.raises(DataError, match="No whole CIFAR-10 at"):
        load_data(f"cifar10:{tmp_path}")


def test_imagenet_is_read_through_torchvision_and_only_what_is_drawn_is_decoded(pictures: Path) -> None:
    names = {"a": ("tench", "Tinca tinca"), "b": ("goldfish",)}
    torch.save((names, ["a", "b"]), pictures / "meta.bin")
    data = load_data(f"imagenet:{pictures}", train_size=4, val_size=2, test_size=2, resolution=32)
    assert data.class_names == ("tench", "goldfish")
    assert data.mean == (0.485, 0.456, 0.406)
    drawn = set(data.train.indices.tolist()) | set(data.val.indices.tolist())
    files = sorted((pictures / "train").glob("*/*.png"))
    for position in set(range(1, 12)) - drawn:
        files[position].write_bytes(b"no picture")
    again = load_data(f"imagenet:{pictures}", train_size=4, val_size=2, test_size=0, resolution=32)
    assert torch.equal(again.train.images, data.train.images)
    assert again.test is None
    assert again.fingerprint == data.fingerprint


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'fashion'") as caught:
        load_data("fashoin")
    assert all(name in str(caught.value) for name in DATA_NAMES)
    with pytest.raises(UnknownNameError):
        load_data("fashion:/somewhere")


def test_missing_places(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="imagefolder:PATH"):
        load_data("imagefolder")
    with pytest.raises(DataError, match=f"No folder at {tmp_path / 'nowhere'}"):
        load_data(f"imagefolder:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match="must hold one folder of pictures a class"):
        load_data(f"imagefolder:{tmp_path}")
    with pytest.raises(DataError, match="dataset-fashion-mnist"):
        load_data(f"fashion-mnist:{tmp_path}")
    with pytest.raises(DataError, match="cifar-100-python"):
        load_data(f"cifar100:{tmp_path}")
    with pytest.raises(DataError, match="No ImageNet at"):
        load_data(f"imagenet:{tmp_path}")


def test_one_class_is_refused(pictures: Path) -> None:
    (pictures / "train" / "b").rename(pictures / "b")
    with pytest.raises(DataError, match=r"must have 2 classes or more, but has 1: a\."):
        load_data(f"imagefolder:{pictures}")


def test_classes_of_train_and_test_must_agree(pictures: Path) -> None:
    (pictures / "val" / "b").rename(pictures / "val" / "c")
    with pytest.raises(DataError, match="must have the classes of its training set"):
        load_data(f"imagefolder:{pictures}")


def test_unreadable_pictures_are_named(pictures: Path) -> None:
    for name in ("a/3.png", "b/5.png"):
        (pictures / "train" / name).write_bytes((pictures / "train" / name).read_bytes()[:40])
    with pytest.raises(DataError, match=r"2 unreadable pictures: .*a/3\.png.*b/5\.png"):
        load_data(f"imagefolder:{pictures}")


def test_labels_out_of_range_are_refused(idx_folder: Path) -> None:
    labels = (np.arange(60) % 10).astype(np.uint8)
    labels[17] = 10
    write_idx(idx_folder / "train-labels-idx1-ubyte.gz", labels)
    with pytest.raises(DataError, match="between 0 and 9, but 1 are not: the first is 10, of image 17"):
        load_data(f"fashion-mnist:{idx_folder}")


def test_damaged_idx_files_are_named(idx_folder: Path) -> None:
    path = idx_folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        load_data(f"fashion-mnist:{idx_folder}")
    other = idx_folder / "x.gz"
    other.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match="no IDX file of unsigned bytes"):
        read_idx(other)


def test_sizes_must_fit(pictures: Path) -> None:
    with pytest.raises(DataError, match=r"at most the 12000 images of 'fashion', but got 10000 \+ 3000"):
        load_data(train_size=10_000, val_size=3000)
    with pytest.raises(InvalidSettingError, match="`val_size` must be 1 or more, but got 0"):
        load_data(val_size=0)
    with pytest.raises(InvalidSettingError, match="`resolution` must be 8 or more"):
        load_data(resolution=4)
    with pytest.raises(InvalidSettingError, match="`split_seed` must be 0 or more"):
        load_data(split_seed=-1)


def test_more_than_half_of_the_free_memory_is_refused(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(akd_gym.image_loading, "_available_memory_mib", lambda: 1.0)
    with pytest.raises(DataError, match=r"24 images .* need 3 MiB, more than half of the 1 MiB .*`\?stream`"):
        load_data(f"imagefolder:{pictures}", resolution=224)


def test_a_users_own_tensors_are_checked() -> None:
    data = load_data(train_size=20, val_size=10)
    wrong = ImageSet(data.val.images, torch.full((10,), 10), data.val.indices)
    with pytest.raises(DataError, match=r"'fashion' \(val\) must be between 0 and 9"):
        replace(data, val=wrong)
    with pytest.raises(DataError, match="square and of one size"):
        replace(data, val=ImageSet(data.val.images[..., :20], data.val.labels, data.val.indices))
    with pytest.raises(DataError, match="one value a channel"):
        replace(data, mean=(0.5, 0.5))
    with pytest.raises(DataError, match=r"Images must be uint8 \(N, C, H, W\), but got float32"):
        ImageSet(data.val.images.float(), data.val.labels, data.val.indices)
    with pytest.raises(DataError, match=r"`labels` must be int64 \(10,\), but got int64 \(9,\)"):
        ImageSet(data.val.images, data.val.labels[:9], data.val.indices)


def test_record_of_the_embedded_set_says_where_it_is_from() -> None:
    about = json.loads((Path(akd_gym.data.__file__).parent / "assets" / "fashion" / "about.json").read_text())
    assert "MIT" in about["source"]
    assert about["pool"]["images"] == 12_000
