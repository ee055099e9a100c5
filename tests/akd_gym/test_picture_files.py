"""Pictures in files: what decodes to what, and what is found unreadable."""

import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

from akd_gym.augment import AugmentRecipe, Crop
from akd_gym.errors import DataError
from akd_gym.picture_files import PictureFiles, check, decode, printable


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """A real one: 512 x 600 pixels, from matplotlib's samples."""
    return Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")


def halves(width: int = 40, height: int = 20) -> Image.Image:
    """A red left half beside a blue right half."""
    picture = Image.new("RGB", (width, height), (250, 0, 0))
    picture.paste((0, 0, 250), (width // 2, 0, width, height))
    return picture


def colours(path: Path, side: int = 20) -> tuple[list[int], list[int]]:
    """Mean colours of the left and the right third of the square."""
    square = decode(str(path), side).astype(int)
    third = side // 3
    return [square[:, part].mean((0, 1)).round().astype(int).tolist() for part in (slice(third), slice(-third, None))]


def test_without_a_crop_it_is_the_central_square(tmp_path: Path) -> None:
    pixels = np.arange(20 * 30 * 3).reshape(20, 30, 3).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(decode(str(tmp_path / "a.png"), 20), pixels[:, 5:25])
    assert np.array_equal(decode(str(tmp_path / "a.png"), None), pixels)


def test_a_crop_of_its_own_size_is_exact(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    got = decode(str(tmp_path / "a.png"), 16, lambda height, width: Crop(height - 30, width - 40, 16, 16, False))
    assert np.array_equal(got, pixels[10:26, 10:26])
    mirrored = decode(str(tmp_path / "a.png"), 16, lambda height, width: Crop(10, 10, 16, 16, True))
    assert np.array_equal(mirrored, got[:, ::-1])


@pytest.mark.parametrize("side", [24, 64, 224])
def test_a_crop_decoded_small_is_the_crop_of_the_whole(photograph: Image.Image, tmp_path: Path, side: int) -> None:
    """JPEG decodes straight to a half, a quarter, an eighth: the same picture but for the smoothing."""
    path = tmp_path / "a.jpg"
    photograph.save(path, quality=95)
    whole = Image.open(path)
    recipe = AugmentRecipe(seed=1, crop_area=0.08)
    for index in range(6):
        part = recipe.crop(index, 0, 600, 512)
        box = (part.left, part.top, part.left + part.width, part.top + part.height)
        expected = np.array(whole.resize((side, side), Image.Resampling.BILINEAR, box=box)).astype(int)
        got = decode(str(path), side, lambda height, width, part=part: part._replace(flip=False)).astype(int)
        assert abs(got - expected).mean() < 4
        assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.985


@pytest.mark.parametrize("name", ["rgb.jpg", "cmyk.jpg", "rgb.webp", "palette.png", "alpha.png", "rgb.bmp", "rgb.tif"])
def test_colours_survive_every_way_to_store_them(tmp_path: Path, name: str) -> None:
    modes = {"cmyk.jpg": "CMYK", "palette.png": "P", "alpha.png": "RGBA"}
    halves().convert(modes.get(name, "RGB")).save(tmp_path / name)
    left, right = colours(tmp_path / name)
    assert left == pytest.approx([250, 0, 0], abs=12)
    assert right == pytest.approx([0, 0, 250], abs=12)


@pytest.mark.filterwarnings("error")
def test_transparent_palettes_are_read_without_a_warning(tmp_path: Path) -> None:
    halves().convert("P").save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert colours(tmp_path / "a.png")[0] == pytest.approx([250, 0, 0], abs=12)


def test_grey_of_8_and_16_bits(tmp_path: Path) -> None:
    Image.new("L", (20, 20), 90).save(tmp_path / "8.png")
    Image.fromarray(np.full((20, 20), 90 * 256 + 17, np.uint16)).save(tmp_path / "16.png")
    assert colours(tmp_path / "8.png") == [[90] * 3] * 2
    assert colours(tmp_path / "16.png") == [[90] * 3] * 2


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pictures_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    turns = {1: 0, 3: 180, 6: 90, 8: 270}  # counter-clockwise: how the camera was held
    stored = halves(160, 80).rotate(turns[orientation], expand=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    for picture in (
        decode(str(tmp_path / "a.jpg"), 16),
        decode(str(tmp_path / "a.jpg"), 16, lambda height, width: Crop(0, 0, height, width, False)),
    ):
        assert picture[:, :6].mean((0, 1)) == pytest.approx([250, 0, 0], abs=15)
        assert picture[:, -6:].mean((0, 1)) == pytest.approx([0, 0, 250], abs=15)
    asked = []

    def crop(height: int, width: int) -> Crop:
        asked.append((height, width))
        return Crop(0, 0, 40, 40, False)

    decode(str(tmp_path / "a.jpg"), 16, crop)
    assert asked == [(80, 160)]


def damaged(folder: Path, photograph: Image.Image) -> dict[str, Path]:
    """One file of each kind of damage."""
    files = {name: folder / name for name in ("cut.jpg", "cut.png", "inside.png", "empty.jpg", "text.jpg", "gone.jpg")}
    small = photograph.resize((128, 150))
    small.save(files["cut.jpg"])
    small.save(files["cut.png"])
    small.save(files["inside.png"])
    for name in ("cut.jpg", "cut.png"):
        content = files[name].read_bytes()
        files[name].write_bytes(content[: len(content) * 9 // 10])
    content = bytearray(files["inside.png"].read_bytes())
    content[len(content) // 2] ^= 0xFF
    files["inside.png"].write_bytes(content)
    files["empty.jpg"].touch()
    files["text.jpg"].write_text("<html>404</html>")
    return files


def test_damage_is_found_by_the_check_and_by_decoding(photograph: Image.Image, tmp_path: Path) -> None:
    files = damaged(tmp_path, photograph)
    reasons = {name: check(str(path)) for name, path in files.items()}
    assert "truncated" in str(reasons["cut.jpg"])
    assert reasons["cut.png"] is not None
    assert reasons["inside.png"] is not None
    assert reasons["empty.jpg"] == reasons["text.jpg"] == "no picture that Pillow knows"
    assert reasons["gone.jpg"] == "No such file or directory"
    for name, path in files.items():
        with pytest.raises(DataError, match=rf"{name} \(.+\)"):
            decode(str(path), 32)
    photograph.save(tmp_path / "good.jpg")
    assert check(str(tmp_path / "good.jpg")) is None


def test_files_are_listed_compactly_whatever_their_names(tmp_path: Path) -> None:
    names = [b"\xe3\x81\xad\xe3\x81\x93/\xc3\xbc 1.jpg", b"b/\xff\xfe.png", b"b/x.png"]
    paths = [os.path.join(os.fsencode(tmp_path), name) for name in names]  # noqa: PTH118
    for number, path in enumerate(paths):
        Path(os.fsdecode(path)).parent.mkdir(exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(b"x" * number)
    files = PictureFiles.below(str(tmp_path), map(os.fsdecode, paths))
    assert len(files) == 3
    assert [files.name(position) for position in range(3)] == names
    assert [os.fsencode(files.path(position)) for position in range(3)] == paths
    assert files.stat([2, 0, 1])[:, 0].tolist() == [2, 0, 1]
    Path(files.path(1)).unlink()
    assert files.stat([1]).tolist() == [[-1, -1]]
    assert printable(files.path(1)).endswith("b/\\xff\\xfe.png")
