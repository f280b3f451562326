"""Tests of standard streams that are closed, full, shared or not UTF-8, and of `--json` beside modules that print."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fitnets.store import inventory, ownership
from fitnets.system import process
from support.made_store import write_run
from support.places import ROOT
from support.runs import TINY

RUN = str(ROOT / "run.py")
LOUD = """
import atexit, os, subprocess, sys
from torch import nn
print("at import")
class Loud(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    def forward(self, images):
        print("in forward")
        return self.body(images)
def loud():
    print("at call")
    sys.stdout.write("by the stream\\n")
    os.write(1, b"by the descriptor\\n")
    subprocess.run(["echo", "by a child"])
    atexit.register(print, "at exit")
    return Loud()
"""
LOUD_WORDS = ("teacher=custom", "teacher.target=loud_nets.loud", *TINY[:4])


def bash(script: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which `$RUN` and `$FITNETS` are the two commands."""
    commands = {"RUN": f"{sys.executable} {RUN}", "FITNETS": f"{sys.executable} -m fitnets.cli"}
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | commands | variables
    return subprocess.run(
        ["bash", "-c", script], cwd=cwd, capture_output=True, timeout=120, env=os.environ | variables, text=True
    )


@pytest.mark.parametrize("command", ["$FITNETS --help", "PYTHONUNBUFFERED=1 $FITNETS runs --help", "$RUN --cfg job"])
def test_a_reader_that_closes_the_pipe_is_no_failure(command, tmp_path):
    done = bash(f"{command} | head -1; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2
    assert done.stdout.endswith("\n0\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
@pytest.mark.parametrize("command", ["$FITNETS --help", "$RUN --cfg job", "$FITNETS runs --json"])
def test_a_result_that_cannot_be_written_gives_one_line_and_exit_code_1(command, tmp_path):
    (tmp_path / "outputs").mkdir()
    ownership.mark(tmp_path / "outputs")
    done = bash(f"{command} > /dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, "standard output cannot be written: No space left on device\n")


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_does_not_stop_a_command(closing, tmp_path):
    done = bash(f"$FITNETS --help {closing}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_data_file_never_gets_the_number_of_a_closed_stream(tmp_path):
    script = "print(open('data', 'w').fileno(), file=open('number', 'w'))"
    script = f"from fitnets.system import process; process.prepare(); {script}"
    assert bash(f'{sys.executable} -c "{script}" <&- >&- 2>&-', tmp_path).returncode == 0
    assert int((tmp_path / "number").read_text()) > 2


def test_a_run_finishes_without_its_reader(tmp_path):
    words = " ".join(f"'{word}'" for word in TINY)
    done = bash(f"$RUN {words} store=piped | head -1; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "0")
    assert [run.status for run in inventory.runs(tmp_path / "piped")] == ["finished"]


def test_a_full_non_blocking_pipe_loses_no_output(tmp_path):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with (tmp_path / "read").open("wb") as file:
        child = subprocess.Popen(["sh", "-c", "sleep 0.2; cat"], stdin=reading, stdout=file)
    os.close(reading)
    stream = process._text(writing, None, is_output=True)
    stream.write("x" * 300_000)
    stream.flush()
    os.close(writing)
    child.wait()
    assert (tmp_path / "read").read_bytes() == b"x" * 300_000


def test_json_alone_is_on_standard_output(tmp_path):
    (tmp_path / "loud_nets.py").write_text(LOUD)
    words = " ".join(f"'{word}'" for word in LOUD_WORDS)
    done = bash(f"$FITNETS layers {words} --json", tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert set(json.loads(done.stdout)) == {"teacher", "student", "pairs", "several_pairs"}
    for line in ("at import", "at call", "by the stream", "by the descriptor", "by a child", "in forward", "at exit"):
        assert line in done.stderr.splitlines()


def test_standard_output_is_restored_after_json(fitnets, monkeypatch, tmp_path, capfd):
    (tmp_path / "loud_nets.py").write_text(LOUD.replace('atexit.register(print, "at exit")', "pass"))
    monkeypatch.syspath_prepend(tmp_path)
    done = fitnets("layers", *LOUD_WORDS, "--json")
    assert set(json.loads(done.out)) == {"teacher", "student", "pairs", "several_pairs"}
    assert "by the descriptor" in done.err
    print("again")
    os.write(1, b"again\n")
    assert capfd.readouterr().out == "again\nagain\n"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "?? ??"),
        ({"PYTHONIOENCODING": "latin-1"}, "\xe4\xf6 ??"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "?? ??"),
        ({"PYTHONIOENCODING": "utf-8"}, "äö ?中"),
    ],
)
def test_a_character_that_the_encoding_lacks_is_replaced(variables, expected, tmp_path):
    script = "from fitnets.system import process; process.prepare(); print('äö', '\\udcff中')"
    (tmp_path / "say.py").write_text(script, encoding="utf-8")
    environment = {key: os.environ[key] for key in os.environ if not key.startswith(("LC_", "LANG", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "say.py"],
        cwd=tmp_path,
        capture_output=True,
        env=environment | variables | {"PYTHONPATH": str(ROOT)},
    )
    encoding = "utf-8" if variables.get("PYTHONIOENCODING") == "utf-8" else "latin-1"
    assert (done.stdout.decode(encoding), done.stderr) == (f"{expected}\n", b"")


def test_a_table_on_an_ascii_stream_has_ascii_lines(tmp_path):
    write_run(tmp_path / "größe", "0123456789abcdef")
    done = bash("$FITNETS runs größe", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert done.stdout.startswith("gr??e: ")
    assert "| student |" in done.stdout.replace("  ", "")


def test_file_names_are_read_alike_in_every_locale(tmp_path):
    """In Python's UTF-8 mode an argument is the same text in every locale."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from fitnets.system import process; process.prepare()\n"
    (tmp_path / "say.py").write_text(script + "open('words', 'w').write(ascii(sys.argv[1:]))")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "say.py", "ü 中"], cwd=tmp_path, env=os.environ | locale, check=True)
    assert (tmp_path / "words").read_text() == ascii(["ü 中"])


def test_a_removed_current_folder_is_reported(tmp_path):
    (tmp_path / "gone").mkdir()
    done = bash("cd gone; rmdir ../gone; $FITNETS runs", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the current folder was removed: cd to another one, and start again\n"
