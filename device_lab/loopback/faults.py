"""What can go wrong with a phone, made to happen at a chosen stage of its use.

A fault is a name at a stage; it fires the given number of times and is then spent. Stages are moments in the daemon:

* `connect`: the CNXN and AUTH packets of a link.
* `check`: a `shell:` or `exec:` command that does not start the benchmark.
* `push`: a file sent to the phone (sync SEND).
* `run`: a command that starts the benchmark (`benchmark_model --graph...`): its start, and its answer on the wire.
* `report`: the same command at its end: what the benchmark printed, and again the answer.
* `pull`: a file fetched from the phone (sync RECV).

What happens to bytes on their way:

| name         | connect              | check            | push         | run             | report         | pull      |
|--------------|----------------------|------------------|--------------|-----------------|----------------|-----------|
| `cut`        | closed unanswered    | amid the output  | amid file    | at the start    | amid output    | amid file |
| `mute`       | no answer, ever      | amid the output  | amid file    | at the start    | amid output    | amid file |
| `drip`       | 0.2 s a byte         | output           | the answer   | output          | its text       | the file  |
| `garble`     | token is wrong       | output           | stored file  | output          | its text       | the file  |
| `bad_packet` | AUTH                 | amid the output  | amid file    | at the start    | amid output    | amid file |
| `truncate`   | half of AUTH, closed | half the output  | half stored  | half the output | half its text  | half file |
| `reboot`     | instead of an answer | instead of it    | amid file    | at the start    | amid output    | amid file |

"Its text" is what the benchmark prints, and so usually a file on the phone. `bad_packet` has a wrong magic and
checksum; all else that is wrong has the right ones. `drip` is a byte each 0.2 s. A command's `truncate` ends with the
command's own exit code, a stored file that is damaged is answered with OKAY. What breaks off a push leaves what had
arrived. After `reboot` the port is closed for `reboot_s`, all processes are gone, and what no phone keeps is reset.

What happens to whoever should do what was asked:

| name            | connect           | check                        | push, pull     | run         | report           |
|-----------------|-------------------|------------------------------|----------------|-------------|------------------|
| `hang`          | link not answered | never ends                   | never answered | never ends  | after its text   |
| `nonzero`       | closed after AUTH | its output, then exit code 1 | FAIL           | exit code 1 | text, then 1     |
| `disk_full`     | key refused       | "No space left on device", 1 | FAIL with that | that, 1     | half its text, 1 |
| `no_permission` | key refused       | "Permission denied", 126     | FAIL with that | that, 126   | that, 126        |

A command that fails does so within its guard, if it has one (`timeout ... sh -c`): the guard reports it or ends it.
For `run` and `report` it is the benchmark itself that fails, so it takes `benchmark_program`. A phone that refuses a
key behaves as one whose screen nobody looks at: it asks again for a signature, and is silent once it got the key.

What happens to the phone, while it does what it was asked:

| name           | what holds then                                                         |
|----------------|-------------------------------------------------------------------------|
| `throttle`     | thermal status 2 (moderate)                                             |
| `core_offline` | the big core is offline, unless it is the only one; who ran on it moves |
| `clock_change` | every core is at 60 % of its frequency                                  |

It begins with the request (`check`: before the command; `run`: just after its start; `report`: when it ended), holds
while a command runs, and `lasts_s` more.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from akd_gym.errors import InvalidSettingError, UnknownNameError

STAGES = ("connect", "check", "push", "run", "report", "pull")
WIRE_FAULTS = ("cut", "mute", "drip", "garble", "bad_packet", "truncate", "reboot")
"""What happens to bytes on their way."""
PROGRAM_FAULTS = ("hang", "nonzero", "disk_full", "no_permission")
"""What happens to whoever serves the request."""
PHONE_FAULTS = ("throttle", "core_offline", "clock_change")
"""What happens to the phone while the request itself is served well."""
FAULT_NAMES = WIRE_FAULTS + PROGRAM_FAULTS + PHONE_FAULTS


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        name: One of `FAULT_NAMES`.
        stage: One of `STAGES`.
        times: How often it happens.
        after: How many requests of this stage are spared first.
        match: Only requests whose command or path holds this text count.
        lasts_s: How long `throttle`, `core_offline` and `clock_change` last.
        reboot_s: How long `reboot` keeps the phone away.
    """

    name: str
    stage: str
    times: int = 1
    after: int = 0
    match: str = ""
    lasts_s: float = 2.0
    reboot_s: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in FAULT_NAMES:
            raise UnknownNameError("fault", self.name, FAULT_NAMES)
        if self.stage not in STAGES:
            raise UnknownNameError("stage of a fault", self.stage, STAGES)
        if self.times < 1 or self.after < 0 or self.lasts_s < 0 or self.reboot_s < 0:
            raise InvalidSettingError(
                "A fault must happen at least once, after no less than 0 requests, for no less than 0 s, "
                f"but got times={self.times}, after={self.after}, lasts_s={self.lasts_s}, reboot_s={self.reboot_s}."
            )


def parse_fault(text: str) -> Fault:
    """The fault written as `NAME@STAGE` or `NAME@STAGE:TIMES`, e.g. `"cut@push:2"`.

    Raises:
        UnknownNameError: There is no such name or stage.
        InvalidSettingError: It is not written like this.
    """
    found = re.fullmatch(r"([^@:]+)@([^@:]+)(?::(\d+))?", text.strip())
    if found is None:
        raise InvalidSettingError(f"A fault must be written NAME@STAGE[:TIMES], e.g. 'cut@push:2', but got {text!r}.")
    return Fault(found[1], found[2], int(found[3] or 1))


class FaultPlan:
    """The faults still to come. Any thread may use it."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Fault, list[int]]] = []
        self._fired: list[Fault] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Appends faults; of several that fit, the first added fires first."""
        with self._lock:
            self._waiting += [(fault, [fault.after, fault.times]) for fault in faults]

    def take(self, stage: str, request: str = "") -> Fault | None:
        """The fault that a request at `stage` meets, if any; it is spent by one."""
        with self._lock:
            for entry in self._waiting:
                fault, left = entry
                if fault.stage != stage or fault.match not in request:
                    continue
                if left[0]:
                    left[0] -= 1
                    continue
                left[1] -= 1
                if not left[1]:
                    self._waiting.remove(entry)
                self._fired.append(fault)
                return fault
        return None

    def waiting(self) -> tuple[Fault, ...]:
        """The faults that have not fired as often as they should."""
        with self._lock:
            return tuple(fault for fault, _ in self._waiting)

    def fired(self) -> tuple[Fault, ...]:
        """The faults that fired, in order, once each time."""
        with self._lock:
            return tuple(self._fired)

    def clear(self) -> None:
        """Forgets the faults that have not fired."""
        with self._lock:
            self._waiting.clear()
