"""Runs `benchmark_model` on a phone: program and models pushed by their hash, one pinned process, its whole output."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass

from akd_gym.device_lab.adb.session import Session
from akd_gym.device_lab.phones.benchmark_output import BenchmarkTimes, parse_benchmark
from akd_gym.device_lab.phones.protocol import PhoneProtocol
from akd_gym.errors import BadOutputError, CommandFailedError

WORK_FOLDER = "/data/local/tmp/akd_gym"
_START_S = 30.0  # for the program to start and the model to load
_PUSH_S = 120.0
_PID_FILE = f"{WORK_FOLDER}/running.pid"
_OUTPUT = f"{WORK_FOLDER}/output.txt"

_KILL_LEFTOVER = (
    f"if [ -f {_PID_FILE} ]; then p=$(cat {_PID_FILE}); "
    "if tr '\\0' ' ' < /proc/$p/cmdline 2>/dev/null | grep -q benchmark_model; then kill -9 $p; fi; "
    f"rm -f {_PID_FILE}; fi"
)
"""Ends the benchmark of a session that was lost: only if the process behind the number is one."""


@dataclass(frozen=True)
class BenchmarkRun:
    """What one start of the benchmark gave.

    Attributes:
        times: Its figures.
        command: The command line, on the phone.
        affinity: Cores that its process was allowed, read back from the kernel.
    """

    times: BenchmarkTimes
    command: str
    affinity: tuple[int, ...]


class BenchmarkRunner:
    """The benchmark on one phone.

    A file is on the phone under the hash of its content, so that a stale one can never stand for another, and is
    pushed once. Output is written to a file and pulled, which neither a terminal's line ends nor a lost line can
    change unnoticed.

    Args:
        program: The `benchmark_model` executable for this phone.
        protocol: How it is called.
        core: The core that runs it.
        mask: The same for `taskset`.
    """

    def __init__(self, program: bytes, protocol: PhoneProtocol, core: int, mask: str) -> None:
        self.program_sha256 = hashlib.sha256(program).hexdigest()
        self._program, self._protocol, self._core, self._mask = program, protocol, core, mask
        self._program_path = f"{WORK_FOLDER}/benchmark_model-{self.program_sha256[:16]}"
        self._flags: str | None = None

    def prepare(self, session: Session) -> None:
        """Makes the work folder, ends what a lost session left running, and brings the program over.

        Raises:
            DeviceError: See `Session`.
        """
        session.run(f"mkdir -p {WORK_FOLDER}/models && {_KILL_LEFTOVER}").checked()
        self._bring(session, self._program, self._program_path, mode=0o755)
        if self._flags is None:
            self._flags = self._delegate_flag(session)

    def bring(self, session: Session, model: bytes) -> None:
        """Pushes a model unless it is there.

        Raises:
            CommandFailedError: No space, or no permission.
            DeviceError: See `Session`.
        """
        self._bring(session, model, self.model_path(model))

    def run(self, session: Session, model: bytes) -> BenchmarkRun:
        """Runs the benchmark once on a model that was brought over.

        Raises:
            CommandFailedError: It ended with another exit code than 0; the message has the end of its output.
            BadOutputError: Its output is incomplete or inconsistent, or it was not pinned.
            DeviceError: See `Session`.
        """
        p = self._protocol
        path = self.model_path(model)
        command = (
            f"taskset {self._mask} {self._program_path} --graph={path} --num_threads={p.threads} "
            f"--warmup_runs={p.warmups} --warmup_min_secs={p.warmup_s:g} --num_runs={p.runs} --min_secs={p.min_s:g} "
            f"--max_secs={p.max_s:g}{self._flags or ''}"
        )
        # `exec` throughout, so that the number in the file is the benchmark's own, and what the kernel says of the
        # cores allowed to this process holds for the benchmark
        pinned = f"grep Cpus_allowed_list: /proc/self/status; exec {command.partition(f'{self._mask} ')[2]}"
        line = f"echo $$ > {_PID_FILE}; exec taskset {self._mask} sh -c {shlex.quote(pinned)} > {_OUTPUT} 2>&1"
        result = session.run(line, timeout_s=_START_S + p.warmup_s + 2 * p.max_s)
        output = session.pull(_OUTPUT).decode(errors="replace")
        if result.exit_code:
            raise CommandFailedError(
                f"benchmark_model must end with exit code 0, but got {result.exit_code}: {_tail(output)}."
            )
        affinity = _affinity(output)
        if affinity != (self._core,):
            raise BadOutputError(
                f"The benchmark must be pinned to core {self._core}, but the kernel allows it {affinity or 'unknown'}."
            )
        return BenchmarkRun(parse_benchmark(output, least_runs=p.runs, model=path), command, affinity)

    def forget(self, session: Session, model: bytes) -> None:
        """Removes a model that is done with."""
        session.run(f"rm -f {self.model_path(model)}").checked()

    def clean(self, session: Session) -> None:
        """Removes models and output, and ends what still runs; the program stays for the next time."""
        clear_leftovers(session)

    @staticmethod
    def model_path(model: bytes) -> str:
        """Where a model lies on the phone."""
        return f"{WORK_FOLDER}/models/{hashlib.sha256(model).hexdigest()[:32]}.tflite"

    def _bring(self, session: Session, content: bytes, path: str, mode: int = 0o644) -> None:
        """Pushes a file unless it is there, whole."""
        found = session.run(f"sha256sum {path} 2>/dev/null").output.split()
        if not found or found[0] != hashlib.sha256(content).hexdigest():
            session.push(content, path, mode=mode, timeout_s=_PUSH_S)

    def _delegate_flag(self, session: Session) -> str:
        """The flag that makes this build of the benchmark run on XNNPACK, by what its help lists.

        Raises:
            BadOutputError: It shows no help: it cannot be started, or is no benchmark.
        """
        flags = session.run(f"{self._program_path} --help").output  # with an exit code that means nothing
        if "--num_runs" not in flags:
            raise BadOutputError(f"benchmark_model must list its flags, but says: {_tail(flags)}.")
        for name in ("use_xnnpack", "use_cpu"):
            if f"--{name}=" in flags:
                return f" --{name}=true"
        return ""


def clear_leftovers(session: Session) -> list[str]:
    """Ends and removes what a lost session left, but for the program; says what was there.

    Raises:
        DeviceError: See `Session`.
    """
    found = session.run(f"[ -e {_PID_FILE} ] || [ -e {WORK_FOLDER}/models ]").exit_code == 0
    session.run(f"{_KILL_LEFTOVER}; rm -rf {WORK_FOLDER}/models {_OUTPUT} {WORK_FOLDER}/*.partial-*").checked()
    return ["its models were removed"] if found else []


def _affinity(output: str) -> tuple[int, ...]:
    found = re.search(r"^Cpus_allowed_list:\s*([\d,-]+)\s*$", output, re.MULTILINE)
    if found is None:
        return ()
    cores: list[int] = []
    for part in found[1].split(","):
        first, _, last = part.partition("-")
        cores += range(int(first), int(last or first) + 1)
    return tuple(cores)


def _tail(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-400:].rstrip(".") or "no output"
