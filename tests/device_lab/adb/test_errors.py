from __future__ import annotations

import builtins
import pickle

import pytest

from akd_gym import errors

OTHERS = (errors.InvalidSettingError, errors.CorruptFileError, errors.StorageError)
OF_DEVICES = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, (errors.DeviceError, *OTHERS))
]


@pytest.mark.parametrize("kind", OF_DEVICES)
def test_errors_of_devices_survive_pickling_and_are_builtins(kind):
    error = kind("the device must, but did not")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "the device must, but did not"
    own = [base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"]
    assert any(hasattr(builtins, name) for name in own) or issubclass(kind, RuntimeError)
    assert isinstance(again, errors.AKDGymError)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.DeviceTimeoutError, TimeoutError),
        (errors.DeviceLostError, ConnectionError),
        (errors.DeviceUnauthorizedError, PermissionError),
        (errors.CommandFailedError, ChildProcessError),
        (errors.BadOutputError, ValueError),
    ],
)
def test_an_error_is_the_builtin_it_resembles(kind, builtin):
    assert issubclass(kind, builtin)
    assert issubclass(kind, errors.DeviceError)
