"""The table of runs that tried settings one after the other."""

import json
from pathlib import Path

from fitnets.reporting import tried
from support import made_store as made

WORDS = ["python", "run.py", "dataset=cifar10", "dataset.path=DIR", "store=somewhere", "schedule=fast", "tracker=none"]


def write(store: Path, name: str, accuracy: float, *words: str, epochs: int = 10, status: str = "finished") -> None:
    folder = made.write_run(
        store,
        name,
        status=status,
        student=made.side("fitnet1", accuracy, 30_000_000, 250_000),
        stages={"student": {"epochs": epochs}},
        timing={"stage_seconds": {"student": 300.0}},
    )
    environment = {"command": [*WORDS, *words, f"seed={name[-1]}"]}
    (folder / "environment.json").write_text(json.dumps(environment))


def test_each_run_is_shown_by_what_it_changed_the_longest_and_best_first(tmp_path):
    write(tmp_path, "plain-0", 87.0)
    write(tmp_path, "warm-0", 87.5, "schedule.kd.temperature=1")
    write(tmp_path, "long-1", 86.0, "--config-dir", "mine", "schedule.student.batch_size=64", epochs=30)
    write(tmp_path, "lost-0", 99.0, "schedule.kd.weight=8", status="diverged")
    text = tried.table(tmp_path)
    assert text.startswith("All have `dataset=cifar10` `schedule=fast`.\n\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    header, _, *found = rows
    assert [dict(zip(header, row, strict=True))["what was given"] for row in found] == [
        "`schedule.student.batch_size=64`",
        "`schedule.kd.temperature=1`",
        "nothing else",
    ]
    assert found[0][1:] == ["1", "30", "99.00 %", "86.00 %", "0.300", "5 min 00 s"]


def test_no_run_gives_an_empty_table(tmp_path):
    (tmp_path / "run").mkdir()
    assert "what was given" in tried.table(tmp_path)
