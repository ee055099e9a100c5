"""What is installed: the wheel holds `akd_gym/` alone and all of it, and the sdist is enough to build that wheel."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import akd_gym

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("agents", "envs", "device_lab")
"""Folders at the top that are linked into the package."""


@functools.cache
def sources() -> list[str]:
    """Every file of the repository, as a clone has it, with what is not committed yet."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if os.path.lexists(ROOT / name)]


def packaged(name: str) -> str | None:
    """Where a file of the repository is in the wheel; None if it must not be there."""
    folder = name.partition("/")[0]
    if folder in LINKED:
        return f"akd_gym/{name}"
    return name if folder == "akd_gym" and name.removeprefix("akd_gym/") not in LINKED else None


def build(folder: Path, out: Path, *options: str) -> None:
    """Builds without isolation, so offline."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository without anything built or installed in it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in sources():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from a clone."""
    out = tmp_path_factory.mktemp("wheel")
    build(clone, out, "--wheel")
    (path,) = out.iterdir()
    return path


def contents(wheel: Path) -> dict[str, int]:
    """Checksum of every file of the package in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist() if ".dist-info/" not in info.filename}


def test_the_wheel_holds_the_package_alone_and_all_of_it(wheel: Path) -> None:
    expected = {place for name in sources() if (place := packaged(name)) is not None}
    assert set(contents(wheel)) == expected
    for name in ("akd_gym/agents/__init__.py", "akd_gym/envs/search.py", "akd_gym/device_lab/host_worker.py"):
        assert name in expected
    for name in ("py.typed", "assets/fashion/pool.npz", "assets/teachers/resnet.safetensors"):
        assert f"akd_gym/{name}" in expected


def test_linked_folders_are_real_files_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in ("agents/ppo.py", "envs/search.py", "device_lab/host.py"):
            assert archive.read(f"akd_gym/{name}") == (ROOT / name).read_bytes()
        links = [info.filename for info in archive.infolist() if (info.external_attr >> 16) & 0o170000 == 0o120000]
    assert not links


def test_what_the_wheel_says_of_itself(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        about = {name.rpartition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(about["METADATA"]).decode())
        entry_points = archive.read(about["entry_points.txt"]).decode()
        top_level = archive.read(about["top_level.txt"]).decode()
    assert (metadata["Name"], metadata["Version"]) == ("akd-gym", akd_gym.__version__)
    assert metadata["Requires-Python"] == ">=3.10"
    assert "akd = akd_gym.cli:main" in entry_points
    assert top_level.split() == ["akd_gym"]
    assert "LICENSE" in about


def test_the_wheel_works_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import akd_gym, akd_gym.agents, akd_gym.cli, akd_gym.device_lab, akd_gym.envs\n"
        "from akd_gym.data import load_data\n"
        "from akd_gym.teachers import load_teacher\n"
        "data = load_data(train_size=10, val_size=10)\n"
        "print(load_teacher('shipped:resnet', data).logits(data.val.images).shape[1])\n"
        "for module in (akd_gym, akd_gym.agents, akd_gym.cli, akd_gym.device_lab, akd_gym.envs):\n"
        "    print(module.__file__)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    classes, *files = done.stdout.splitlines()
    assert classes == "10"
    assert files
    assert all(file.startswith(str(tmp_path)) for file in files)


def test_the_sdist_builds_the_same_wheel(clone: Path, wheel: Path, tmp_path: Path) -> None:
    build(clone, tmp_path)  # the sdist, and from it the wheel
    (again,) = tmp_path.glob("*.whl")
    assert contents(again) == contents(wheel)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        assert not [member.name for member in archive if member.issym() or member.islnk()]
    assert {"pyproject.toml", "README.md", "LICENSE", "akd_gym/py.typed", "akd_gym/envs/search.py"} <= names
