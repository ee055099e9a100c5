from __future__ import annotations

import base64
import multiprocessing
import os
import stat
import subprocess

import pytest
from adb_shell.auth.keygen import encode_pubkey
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from akd_gym.device_lab.adb.keys import load_keys
from akd_gym.errors import CorruptFileError, StorageError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AKD_GYM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def write_pem(path, key, password: bytes | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    (key,) = load_keys(tmp_path / "new" / "folder")
    made = tmp_path / "new" / "folder" / "adbkey"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert sorted(file.name for file in made.parent.iterdir()) == ["adbkey", "adbkey.pub"]
    (again,) = load_keys(tmp_path / "new" / "folder")
    assert again.GetPublicKey() == key.GetPublicKey() == made.with_name("adbkey.pub").read_bytes().strip()


def test_a_key_is_never_open_to_others_not_even_with_an_open_umask(tmp_path, monkeypatch):
    modes = []
    real = os.open

    def watched(path, flags, mode=0o777, **rest):
        descriptor = real(path, flags, mode, **rest)
        if "adbkey" in str(path):
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        load_keys(tmp_path)
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_an_open_key_of_ours_is_closed_with_a_warning(tmp_path):
    load_keys(tmp_path)
    (tmp_path / "adbkey").chmod(0o644)
    with pytest.warns(UserWarning, match="open to other users"):
        load_keys(tmp_path)
    assert stat.S_IMODE((tmp_path / "adbkey").stat().st_mode) == 0o600


def test_the_public_key_is_what_adb_shell_and_adb_make_of_it(tmp_path, each_adb):
    (key,) = load_keys(tmp_path)
    path = str(tmp_path / "adbkey")
    public = key.GetPublicKey().split()[0]
    assert public == base64.b64encode(encode_pubkey(path))
    assert public == subprocess.run([each_adb, "pubkey", path], capture_output=True, check=True).stdout.split()[0]


def test_the_users_own_key_comes_first_and_is_left_as_it_is(home, tmp_path):
    users = home / ".android" / "adbkey"
    write_pem(users, rsa.generate_private_key(public_exponent=65537, key_size=2048))
    users.chmod(0o644)
    assert len(load_keys()) == 1
    assert not (tmp_path / "cache").exists()
    assert stat.S_IMODE(users.stat().st_mode) == 0o644
    assert [file.name for file in users.parent.iterdir()] == ["adbkey"]
    (own,) = load_keys(tmp_path / "cache")
    assert [key.GetPublicKey() for key in load_keys()][1:] == [own.GetPublicKey()]


def test_without_a_key_of_the_users_one_is_made_in_the_cache(home, tmp_path):
    load_keys()
    assert (tmp_path / "cache" / "adbkey").exists()
    assert not (home / ".android").exists()


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(public_exponent=65537, key_size=1024), ec.generate_private_key(ec.SECP256R1())],
    ids=["1024 bits", "elliptic"],
)
def test_a_key_that_adb_does_not_take_is_named(home, key):
    write_pem(home / ".android" / "adbkey", key)
    with pytest.raises(CorruptFileError, match=r"\.android/adbkey must hold an RSA private key"):
        load_keys()


def test_a_key_with_a_password_is_named(tmp_path):
    write_pem(tmp_path / "adbkey", rsa.generate_private_key(public_exponent=65537, key_size=2048), b"secret")
    (tmp_path / "adbkey").chmod(0o600)
    with pytest.raises(CorruptFileError, match="adbkey must hold an RSA private key"):
        load_keys(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\x00garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_is_named(tmp_path, content):
    (tmp_path / "adbkey").write_bytes(content)
    (tmp_path / "adbkey").chmod(0o600)
    with pytest.raises(CorruptFileError, match="Move it away"):
        load_keys(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be writable"):
        load_keys(tmp_path / "file" / "folder")


def test_processes_that_make_a_key_at_once_end_with_one_key(tmp_path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        made = pool.map(_public_key, [tmp_path] * 4, chunksize=1)
    assert len(set(made)) == 1
    assert (tmp_path / "adbkey.pub").read_bytes().strip() == made[0]


def _public_key(folder) -> bytes:
    return load_keys(folder)[0].GetPublicKey()
