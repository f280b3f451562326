"""W&B offline runs, read back from their files."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conftest import TINY

from fitnets.store import read_metrics

WANDB = (*TINY[1:], "tracker=wandb", "tracker.group=study", "tracker.tags=[a,b]")


def records(file: Path) -> Iterator[bytes]:
    """The records of a `.wandb` file: 7 bytes of header, then LevelDB's log format in blocks of 32 KiB."""
    content = file.read_bytes()
    assert content.startswith(b":W&B")
    place, block, partial = 7, 32_768, b""
    while place + 7 <= len(content):
        if block - place % block < 7:  # too little for another header: the rest of the block is padding
            place += block - place % block
            continue
        _checksum, length, kind = struct.unpack_from("<IHB", content, place)
        partial += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield partial
            partial = b""


def read_back(directory: Path) -> dict[str, Any]:
    """History, summary, configuration and exit code of the one offline run in a directory."""
    from wandb.proto import wandb_internal_pb2

    (file,) = directory.glob("wandb/offline-run-*/run-*.wandb")
    found: dict[str, Any] = {"history": [], "summary": {}, "exit_code": None}
    for blob in records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(blob)
        match record.WhichOneof("record_type"):
            case "history":
                found["history"].append({_key(item): json.loads(item.value_json) for item in record.history.item})
            case "summary":
                found["summary"].update({_key(item): json.loads(item.value_json) for item in record.summary.update})
            case "run":
                found["run"] = record.run
                found["config"] = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            case "exit":
                found["exit_code"] = record.exit.exit_code
    return found


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def test_the_offline_run_holds_what_metrics_jsonl_holds(command, tmp_path):
    finished = command(*WANDB)
    assert finished.code == 0, finished.err
    (directory,) = (tmp_path / "store" / "run").iterdir()
    found = read_back(directory)
    rows = read_metrics(directory / "metrics.jsonl")
    assert len(found["history"]) == len(rows) == 3
    for row, logged in zip(rows, found["history"], strict=True):
        expected = {
            f"{row['stage']}/{name}": value for name, value in row.items() if name not in ("step", "stage", "timing")
        }
        assert {name: value for name, value in logged.items() if not name.startswith("_")} == expected
        assert logged["_step"] == row["step"]
    result = json.loads((directory / "result.json").read_text())
    assert found["summary"]["student"]["valid_error"] == result["student"]["valid_error"]
    assert found["summary"]["status"] == "finished"
    assert found["config"]["student"]["width"] == 4
    assert (found["run"].run_group, list(found["run"].tags)) == ("study", ["a", "b"])
    assert found["exit_code"] == 0


def test_a_failed_job_closes_its_run_as_failed_and_the_next_has_its_own(command, tmp_path):
    finished = command("-m", *WANDB, "schedule.student.optimizer.lr=1e30,1e-3", "method=backprop")
    assert finished.code == 1
    codes = {}
    for directory in (tmp_path / "store" / "run").iterdir():
        status = json.loads((directory / "result.json").read_text())["status"]
        codes[status] = read_back(directory)["exit_code"]
    assert codes == {"diverged": 1, "finished": 0}
