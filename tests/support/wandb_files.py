"""W&B runs, read back from the files that W&B writes."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(file: Path, *, is_finished: bool = True) -> Iterator[bytes]:
    """The records of a `.wandb` file: 7 bytes of header, then LevelDB's log format in blocks of 32 KiB.

    is_finished: whether this process has finished the run, so that W&B's service may close the file and end
    """
    if is_finished:
        import wandb

        wandb.teardown()
    content = file.read_bytes()
    assert content.startswith(b":W&B")
    offset, block, partial = 7, 32_768, b""
    while offset + 7 <= len(content):
        if block - offset % block < 7:  # too little for another header: the rest of the block is padding
            offset += block - offset % block
            continue
        _checksum, length, kind = struct.unpack_from("<IHB", content, offset)
        partial += content[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield partial
            partial = b""


def read_back(directory: Path, kind: str = "offline-run", *, is_finished: bool = True) -> dict[str, Any]:
    """The content of the one W&B run in a directory, without the entries that W&B itself adds."""
    from wandb.proto import wandb_internal_pb2

    (file,) = directory.glob(f"wandb/{kind}-*/run-*.wandb")
    logged: dict[str, Any] = {"history": [], "summary": {}, "config": {}, "exit_code": None, "artifacts": []}
    for blob in records(file, is_finished=is_finished):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(blob)
        match record.WhichOneof("record_type"):
            case "history":
                logged["history"].append(_items(record.history.item))
            case "summary":
                logged["summary"] |= _items(record.summary.update)
            case "run":
                logged["run"] = record.run
                logged["config"] |= _items(record.run.config.update)
            case "config":
                logged["config"] |= _items(record.config.update)
            case "artifact":
                logged["artifacts"].append(record.artifact)
            case "exit":
                logged["exit_code"] = record.exit.exit_code
    logged["plots"] = {name.split(".")[-1]: item for name, item in logged["config"].items() if ".visualize." in name}
    logged["steps"] = [row["_step"] for row in logged["history"]]
    for part in (logged["summary"], logged["config"], *logged["history"]):
        for name in [name for name in part if name.startswith("_") and name != "_type_"]:
            del part[name]
    return logged


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def only(store: Path, what: str = "run") -> Path:
    (directory,) = (store / what).glob("[!.]*")
    return directory
