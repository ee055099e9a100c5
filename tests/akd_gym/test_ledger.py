"""The ledger: what it promises to whoever stores into it, and what it survives."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from akd_gym.errors import CorruptFileError, InvalidSettingError, SchemaVersionError, StorageError
from akd_gym.ledger import Candidate, EvaluatedCandidate, Ledger, TrainingRecord
from akd_gym.ledger_schema import APPLICATION_ID, PAGE_SIZE, SCHEMA_VERSION

ARCHITECTURE = "stem_k3_s2_c8 ds_r1_k3_s1_c8_noskip ir_r2_k3_s2_e6_c24_id head_c64"
TASK = {"space": "akd", "data": "fashion", "teacher": "shipped:resnet", "recipe": {"epochs": 5, "lr": 0.1}}
DEVICE = {"device": "some CPU", "protocol": 1}
OK = TrainingRecord("ok", accuracy=0.8125, loss=0.4, seconds=12.5, epochs=5)
LATENCY = {"verdict": "ok", "kind": "host", "min_ms": 0.75, "median_ms": 0.8, "samples_ms": [0.75, 0.8, 0.9]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path):
    with Ledger.open(path) as ledger:
        yield ledger


def candidate(ledger, number, architecture=ARCHITECTURE, **changes):
    fields = {
        "number": number,
        "round": number // 2,
        "choices": (0, 1, 2),
        "architecture": architecture,
        "training_context": ledger.context(TASK),
        "seed": 0,
        "latency_context": ledger.context(DEVICE),
        "madds": 1_500_000,
        "params": 20_000,
        "target": 0.9,
    }
    return Candidate(**(fields | changes))


def run_python(code, *arguments):
    """Runs a program in a process of its own, which fails the test if it fails."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestConformance:
    """What holds for any ledger, told through its public interface alone."""

    def test_equal_identities_share_a_context(self, ledger):
        reordered = {"recipe": {"lr": 0.1, "epochs": 5}, **{k: TASK[k] for k in ("teacher", "data", "space")}}
        assert ledger.context(TASK) == ledger.context(reordered)
        assert ledger.context(TASK) != ledger.context(TASK | {"teacher": "none"})
        assert ledger.identity(ledger.context(TASK)) == TASK
        assert ledger.identity("0" * 16) is None

    def test_context_hash_never_drifts(self, ledger):
        # `printf %s '{"data":"fashion","space":"akd"}' | sha256sum`; a change would orphan every ledger.
        assert ledger.context({"space": "akd", "data": "fashion"}) == "238e74cb5dec6b49"

    @pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
    def test_refuses_an_identity_that_is_not_json(self, ledger, value):
        with pytest.raises(InvalidSettingError, match="`identity` must be plain JSON"):
            ledger.context({"space": value})

    @pytest.mark.parametrize(
        "record",
        [
            OK,
            TrainingRecord("ok", accuracy=0.0),
            TrainingRecord("ok", accuracy=1.0, loss=None, seconds=3, epochs=5),
            TrainingRecord("infeasible", "out_of_memory", "wanted 9 GiB – \U0001f4a5 'quoted'\n", seconds=0.1),
            TrainingRecord("ok", accuracy=np.float32(0.7), loss=np.float64(1.5), epochs=np.int64(5)),
        ],
    )
    def test_training_comes_back_as_it_went_in(self, ledger, record):
        context = ledger.context(TASK)
        assert ledger.find_training(context, ARCHITECTURE, 0) is None
        assert ledger.add_training(context, ARCHITECTURE, 0, record) == record
        assert ledger.find_training(context, ARCHITECTURE, 0) == record
        assert ledger.find_training(context, ARCHITECTURE, np.int64(0)) == record

    def test_trainings_differ_by_context_architecture_and_seed(self, ledger):
        context, other = ledger.context(TASK), ledger.context(TASK | {"teacher": "none"})
        ledger.add_training(context, ARCHITECTURE, 0, OK)
        assert ledger.find_training(context, ARCHITECTURE, 1) is None
        assert ledger.find_training(context, ARCHITECTURE + "0", 0) is None
        assert ledger.find_training(other, ARCHITECTURE, 0) is None

    def test_the_first_training_wins(self, ledger):
        context = ledger.context(TASK)
        ledger.add_training(context, ARCHITECTURE, 0, OK)
        assert ledger.add_training(context, ARCHITECTURE, 0, TrainingRecord("ok", accuracy=0.5)) == OK
        assert ledger.add_training(context, ARCHITECTURE, 0, TrainingRecord("infeasible", "diverged")) == OK
        assert ledger.find_training(context, ARCHITECTURE, 0) == OK
        assert ledger.counts()["trainings"] == 1

    def test_many_trainings_at_once(self, ledger):
        context = ledger.context(TASK)
        ledger.add_training(context, "a0", 0, OK)
        rows = [(context, f"a{i}", 0, TrainingRecord("ok", accuracy=i / 10)) for i in range(10)]
        assert ledger.add_trainings(rows) == 9
        assert list(ledger.trainings()) == [(context, "a0", 0, OK), *rows[1:]]
        assert list(ledger.trainings("0" * 16)) == []

    @pytest.mark.parametrize(
        "fields",
        [
            {"status": "ok"},
            {"status": "ok", "accuracy": 81.2},
            {"status": "ok", "accuracy": float("nan")},
            {"status": "ok", "accuracy": 0.5, "reason": "diverged"},
            {"status": "infeasible", "reason": "diverged", "accuracy": 0.5},
            {"status": "infeasible"},
            {"status": "pending", "accuracy": 0.5},
            {"status": "ok", "accuracy": 0.5, "loss": float("inf")},
        ],
    )
    def test_refuses_a_training_that_contradicts_itself(self, fields):
        with pytest.raises(InvalidSettingError, match="must"):
            TrainingRecord(**fields)

    def test_latency_comes_back_as_it_went_in(self, ledger):
        context = ledger.context(DEVICE)
        assert ledger.find_latency(context, ARCHITECTURE) is None
        assert ledger.add_latency(context, ARCHITECTURE, LATENCY) == LATENCY
        assert ledger.add_latency(context, ARCHITECTURE, LATENCY | {"min_ms": 99.0}) == LATENCY
        assert ledger.find_latency(context, ARCHITECTURE) == LATENCY

    @pytest.mark.parametrize(
        "record", [{}, {"verdict": "ok"}, LATENCY | {"min_ms": 0.0}, LATENCY | {"min_ms": float("nan")}]
    )
    def test_refuses_a_latency_that_is_neither_a_number_nor_a_failure(self, ledger, record):
        with pytest.raises(InvalidSettingError, match="must"):
            ledger.add_latency(ledger.context(DEVICE), ARCHITECTURE, record)
        assert ledger.counts()["latencies"] == 0

    @pytest.mark.parametrize("add", ["add_training", "add_latency"])
    def test_refuses_a_context_that_is_not_registered(self, ledger, add):
        result = (0, OK) if add == "add_training" else (LATENCY,)
        with pytest.raises(InvalidSettingError, match=r"registered by `Ledger\.context`"):
            getattr(ledger, add)("0" * 16, ARCHITECTURE, *result)

    def test_trajectory_keeps_order_and_repeats(self, ledger):
        for number in (2, 0, 1):
            ledger.add_candidate(candidate(ledger, number, from_ledger=number > 0, seed=np.int64(0)))
        found = list(ledger.candidates())
        assert [c.number for c in found] == [0, 1, 2]
        assert found[0].choices == (0, 1, 2)
        assert [c.from_ledger for c in found] == [False, True, True]

    def test_the_first_candidate_of_a_number_wins(self, ledger):
        first = ledger.add_candidate(candidate(ledger, 0))
        assert ledger.add_candidate(candidate(ledger, 0, choices=(3, 3, 3))) == first

    def test_searches_that_share_a_ledger_keep_their_own_trajectory(self, ledger):
        ledger.add_candidate(candidate(ledger, 0, search="a"))
        ledger.add_candidate(candidate(ledger, 0, search="b", target=7.0))
        assert [c.target for c in ledger.candidates("a")] == [0.9]
        assert [c.target for c in ledger.candidates("b")] == [7.0]
        assert list(ledger.candidates()) == []

    def test_evaluations_join_what_is_known(self, ledger):
        task, device = ledger.context(TASK), ledger.context(DEVICE)
        ledger.add_training(task, "good", 0, OK)
        ledger.add_latency(device, "good", LATENCY)
        ledger.add_training(task, "diverged", 0, TrainingRecord("infeasible", "diverged"))
        ledger.add_latency(device, "diverged", LATENCY)
        ledger.add_latency(device, "unmeasurable", {"verdict": "failed", "kind": "host", "reason": "timeout"})
        ledger.add_training(task, "unmeasurable", 0, OK)
        for number, name in enumerate(["good", "diverged", "unmeasurable", "good"]):
            ledger.add_candidate(candidate(ledger, number, name))
        ledger.add_candidate(candidate(ledger, 4, "good", latency_context=None, target=2e6))
        ledger.add_candidate(candidate(ledger, 5, "unknown"))
        ledger.add_candidate(candidate(ledger, 6, "unknown", latency_context=None))

        def summary(e: EvaluatedCandidate):
            return e.status, e.reason, e.accuracy, e.cost, e.cost_unit

        assert [summary(e) for e in ledger.evaluations()] == [
            ("ok", None, 0.8125, 0.75, "ms"),
            ("infeasible", "diverged", None, 0.75, "ms"),
            ("infeasible", "unmeasurable", 0.8125, None, "ms"),
            ("ok", None, 0.8125, 0.75, "ms"),
            ("ok", None, 0.8125, 1.5e6, "madds"),
            ("infeasible", "unmeasurable", None, None, "ms"),
            ("infeasible", "not_trained", None, 1.5e6, "madds"),
        ]

    @pytest.mark.parametrize(
        ("changes", "expected"), [({}, 0.75), ({"kind": "phone"}, 0.8), ({"latency_ms": 0.7}, 0.7)]
    )
    def test_a_record_stands_for_one_latency(self, ledger, changes, expected):
        ledger.add_latency(ledger.context(DEVICE), ARCHITECTURE, LATENCY | changes)
        ledger.add_candidate(candidate(ledger, 0))
        assert [e.latency_ms for e in ledger.evaluations()] == [expected]
        assert ledger._execute("SELECT latency_ms FROM latencies").fetchall() == [(expected,)]

    def test_a_transaction_that_fails_leaves_nothing(self, ledger):
        context = ledger.context(TASK)

        def fail():
            with ledger.transaction():
                ledger.add_training(context, "a", 0, OK)
                raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            fail()
        assert ledger.find_training(context, "a", 0) is None
        with ledger.transaction():
            ledger.add_training(context, "a", 0, OK)
            assert ledger.add_trainings([(context, "b", 0, OK)]) == 1
        assert ledger.counts()["trainings"] == 2

    def test_everything_is_there_when_opened_again(self, path):
        with Ledger.open(path) as ledger:
            context = ledger.context(TASK)
            ledger.add_training(context, ARCHITECTURE, 0, OK)
        with Ledger.open(path, read_only=True) as ledger:
            assert ledger.find_training(context, ARCHITECTURE, 0) == OK
            ledger.check()


class TestOldFiles:
    """Files that earlier versions wrote stay readable."""

    def test_schema_1(self, tmp_path, pytestconfig):
        path = shutil.copy(pytestconfig.rootpath / "tests/assets/ledger-v1.sqlite", tmp_path)
        with Ledger.open(path) as ledger:
            assert ledger.counts() == {"contexts": 2, "trainings": 3, "latencies": 3, "candidates": 4}
            task, device = "a1b7db31d4b62d43", "1edffa4ff5928269"
            assert ledger.identity(device) == DEVICE
            assert ledger.context(TASK) == task
            assert [e.status for e in ledger.evaluations()] == ["ok", "infeasible", "infeasible", "ok"]
            first = next(ledger.evaluations())
            assert (first.accuracy, first.cost, first.candidate.choices) == (0.8125, 0.75, (0, 1, 2))
            ledger.check()


class TestProcesses:
    """Several processes at once, and processes that die."""

    def test_kill_9_loses_nothing_that_was_reported(self, path):
        program = """
            import itertools, sys
            from akd_gym.ledger import Ledger, TrainingRecord
            ledger = Ledger.open(sys.argv[1])
            context = ledger.context({"task": 1})
            for i in itertools.count():
                record = TrainingRecord("ok", accuracy=0.5, detail="x" * 3000)
                ledger.add_training(context, f"a{i}", 0, record)
                print(i, flush=True)
        """
        command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
        reported = -1
        for _ in range(2):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout:
                    reported = int(line)
                    if reported >= 150:
                        break
                process.send_signal(signal.SIGKILL)
            with Ledger.open(path) as ledger:
                context = ledger.context({"task": 1})
                ledger.check()
                found = {architecture for _, architecture, _, _ in ledger.trainings(context)}
                assert {f"a{i}" for i in range(reported + 1)} <= found

    def test_a_reader_follows_a_writer(self, ledger, path):
        context = ledger.context(TASK)
        ledger.add_training(context, "a", 0, OK)
        reader = """
            import sys
            from akd_gym.ledger import Ledger
            with Ledger.open(sys.argv[1], read_only=True) as ledger:
                print(ledger.counts()["trainings"])
        """
        with ledger.transaction():
            ledger.add_training(context, "b", 0, OK)
            assert run_python(reader, path) == "1\n"  # not committed yet, and the reader does not wait
        assert run_python(reader, path) == "2\n"
        ledger.add_training(context, "c", 0, OK)
        assert run_python(reader, path) == "3\n"

    def test_two_searches_share_a_ledger(self, path):
        program = """
            import sys
            from akd_gym.ledger import Ledger, TrainingRecord
            with Ledger.open(sys.argv[1]) as ledger:
                context = ledger.context({"task": 1})
                for i in range(100):
                    mine = TrainingRecord("ok", accuracy=0.5, detail=sys.argv[2])
                    stored = ledger.add_training(context, f"a{i}", 0, mine)
                    assert stored == ledger.find_training(context, f"a{i}", 0)
                    ledger.add_training(context, f"only {sys.argv[2]} {i}", 0, mine)
        """
        commands = [[sys.executable, "-c", textwrap.dedent(program), str(path), name] for name in ("x", "y")]
        processes = [subprocess.Popen(command) for command in commands]
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
        with Ledger.open(path) as ledger:
            ledger.check()
            assert ledger.counts() == {"contexts": 1, "trainings": 300, "latencies": 0, "candidates": 0}

    def test_a_writer_that_never_ends_is_named(self, ledger, path):
        error = pytest.raises(StorageError, match=f"{path}.*locked.*busy_timeout_s")
        with Ledger.open(path, busy_timeout_s=0.05) as other, ledger.transaction(), error:
            other.context({"task": 2})
        with Ledger.open(path) as other:
            assert other.context({"task": 2})

    def test_new_file_opened_by_many_at_once(self, path):
        errors = []

        def use():
            try:
                with Ledger.open(path) as ledger:
                    ledger.context(TASK)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        with Ledger.open(path) as ledger:
            assert ledger.counts()["contexts"] == 1


class TestBadFiles:
    """Files that cannot be used are named, and left as they are."""

    def test_newer_schema(self, path):
        Ledger.open(path).close()
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.close()
        before = path.read_bytes()
        for read_only in (False, True):
            with pytest.raises(SchemaVersionError, match=f"has {SCHEMA_VERSION + 1}: a newer akd_gym"):
                Ledger.open(path, read_only=read_only)
        assert path.read_bytes() == before

    def test_another_programs_database(self, path):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE cookies (name)")
        connection.close()
        before = path.read_bytes()
        with pytest.raises(InvalidSettingError, match="database of another program"):
            Ledger.open(path)
        assert path.read_bytes() == before

    def test_not_a_database(self, path):
        path.write_text("number,accuracy\n" * 100)
        with pytest.raises(CorruptFileError, match=f"{path}.*not a database.*akd repair {path.parent}"):
            Ledger.open(path)

    def test_missing_or_empty_to_a_reader(self, path):
        with pytest.raises(StorageError, match="no such file"):
            Ledger.open(path, read_only=True)
        assert not path.exists()
        path.touch()
        with pytest.raises(CorruptFileError, match="empty"):
            Ledger.open(path, read_only=True)

    def test_truncated(self, path):
        self.fill(path)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        for read_only in (False, True):
            with pytest.raises(CorruptFileError, match="akd repair"):
                Ledger.open(path, read_only=read_only)

    @pytest.mark.parametrize("offset", [16, 3 * PAGE_SIZE, 8 * PAGE_SIZE + 3])
    def test_flipped_bytes_in_the_structure(self, path, offset):
        self.fill(path)
        data = bytearray(path.read_bytes())
        data[offset] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(CorruptFileError, match=f"{path}.*akd repair"):
            Ledger.open(path)

    def test_flipped_bit_in_a_row(self, path):
        context = self.fill(path)
        data = path.read_bytes()
        where = data.index(b"a7 stem")
        path.write_bytes(data[:where] + b"a8 Stem" + data[where + 7 :])
        with Ledger.open(path) as ledger:  # to SQLite this is a perfect file
            assert ledger.find_training(context, "a6 " + ARCHITECTURE, 0) == OK
            with pytest.raises(CorruptFileError, match=r"row of trainings does not fit its checksum.*akd repair"):
                ledger.find_training(context, "a7 " + ARCHITECTURE, 0)
            with pytest.raises(CorruptFileError, match="checksum"):
                ledger.check()

    @staticmethod
    def fill(path):
        with Ledger.open(path) as ledger:
            context = ledger.context(TASK)
            ledger.add_trainings((context, f"a{i} {ARCHITECTURE}", 0, OK) for i in range(300))
        return context


class TestBadDisks:
    """A disk that is full or read-only loses nothing that was stored before."""

    def test_full_disk(self, path):
        with Ledger.open(path) as ledger:
            context = ledger.context(TASK)
            ledger.add_training(context, "before", 0, OK)
            pages = ledger._execute("PRAGMA page_count").fetchone()[0]
            ledger._execute(f"PRAGMA max_page_count = {pages}")
            big = TrainingRecord("infeasible", "diverged", "x" * 100_000)
            with pytest.raises(StorageError, match=f"{path}.*full.*Free some space"):
                ledger.add_training(context, "during", 0, big)
            with pytest.raises(StorageError, match="full"):
                ledger.add_trainings((context, f"a{i}", 0, big) for i in range(3))
            assert ledger.find_training(context, "before", 0) == OK
            assert ledger.counts()["trainings"] == 1
            ledger._execute("PRAGMA max_page_count = 1000000")
            assert ledger.add_training(context, "during", 0, big) == big

    def test_file_size_limit(self, path):
        program = """
            import resource, sys
            from akd_gym.errors import StorageError
            from akd_gym.ledger import Ledger, TrainingRecord
            ledger = Ledger.open(sys.argv[1])
            context = ledger.context({"task": 1})
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            record = TrainingRecord("ok", accuracy=0.5, detail="x" * 2000)
            try:
                for stored in range(1000):
                    ledger.add_training(context, f"a{stored}", 0, record)
            except StorageError as error:
                assert sys.argv[1] in str(error), error
                assert ledger.find_training(context, f"a{stored}", 0) is None
                print(stored, flush=True)
        """
        stored = int(run_python(program, path))
        assert stored > 5
        with Ledger.open(path) as ledger:
            ledger.check()
            assert ledger.counts()["trainings"] == stored

    def test_directory_that_is_missing_or_a_file(self, tmp_path):
        for parent in (tmp_path / "missing", tmp_path / "file"):
            (tmp_path / "file").touch()
            with pytest.raises(StorageError, match=r"unable to open.*directory must exist"):
                Ledger.open(parent / "ledger.sqlite")
        with pytest.raises(StorageError, match="unable to open"):
            Ledger.open(tmp_path)

    def test_read_only_directory(self):
        # Root may write anywhere, so the program gives up its rights, and with them pytest's directories.
        directory = Path(tempfile.mkdtemp())
        try:
            path = directory / "ledger.sqlite"
            with Ledger.open(path) as ledger:
                context = ledger.context(TASK)
                ledger.add_training(context, ARCHITECTURE, 0, OK)
            path.chmod(0o444)
            directory.chmod(0o555)
            program = """
                import os, sys
                from akd_gym.errors import StorageError
                from akd_gym.ledger import Ledger, TrainingRecord
                if os.geteuid() == 0:
                    os.setuid(65534)
                path, context, architecture = sys.argv[1:]
                with Ledger.open(path, read_only=True) as ledger:
                    print(ledger.find_training(context, architecture, 0).accuracy)
                for name in (path, path + ".new"):
                    try:
                        Ledger.open(name).add_training(context, "b", 0, TrainingRecord("ok", accuracy=0.5))
                    except StorageError as error:
                        print(error)
            """
            output = run_python(program, path, context, ARCHITECTURE).splitlines()
            assert output[0] == "0.8125"
            assert f"`{path}` cannot be used: attempt to write a readonly database. Make" in output[1]
            assert f"`{path}.new` cannot be used: unable to open database file. Its directory" in output[2]
        finally:
            directory.chmod(0o755)
            shutil.rmtree(directory)

    def test_read_only_ledger_refuses_to_write(self, path):
        with Ledger.open(path) as ledger:
            context = ledger.context(TASK)
        with Ledger.open(path, read_only=True) as ledger:
            assert ledger.context(TASK) == context
            with pytest.raises(StorageError, match="readonly"):
                ledger.context(DEVICE)
            with pytest.raises(StorageError, match="readonly"):
                ledger.add_training(context, ARCHITECTURE, 0, OK)


def test_file_carries_its_version_and_program(path, ledger):
    ledger.context(TASK)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert json.loads(connection.execute("SELECT identity FROM contexts").fetchone()[0]) == TASK
    connection.close()
    assert ledger._execute("PRAGMA synchronous").fetchone() == (2,)
    assert path.stat().st_size % PAGE_SIZE == 0
