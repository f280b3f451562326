"""`make gpu`: run all checks that need a CUDA device, and write what came out as gpu.json and gpu.md.

A skipped check counts as one that did not run. The exit code is 0 only if every check has run and passed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
LIMIT_S = 480
NOT_RUN = 2
"""exit code without a GPU"""
SHORT = (
    "tracker=none",
    "test=false",
    "schedule=fast",
    *(f"schedule.{s}.epochs=10" for s in ("teacher", "hint", "student")),
)
COMMANDS = {
    "bench: FitNets 1 to 4": ("bench", "--students", "fitnet1,fitnet2,fitnet3,fitnet4", "--json", "{out}/bench.json"),
    **{
        f"ten epochs of {student} on CIFAR-10": (
            "run",
            "dataset=cifar10",
            f"student={student}",
            *SHORT,
            "store={out}/store",
        )
        for student in ("fitnet1", "fitnet4")
    },
}
"""commands of `fitnets` by check; {out} is a folder for their files"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check with its end. status: passed, failed or skipped; text: its reason, or the end of its output."""

    check: str
    status: str
    seconds: float
    text: str = ""


def missing() -> str | None:
    """Return why no check can run here; None with a CUDA device."""
    import torch

    if torch.cuda.is_available():
        return None
    return f"PyTorch {torch.__version__} finds no CUDA device"


def tests(words: Sequence[str]) -> list[str]:
    """Return the names of the tests that need a GPU."""
    done = _python("-m", "pytest", "-m", "gpu", "--collect-only", "-q", *words)
    return [line for line in done.stdout.splitlines() if "::" in line]


def run_tests(folder: Path, words: Sequence[str]) -> list[Outcome]:
    report = folder / "tests.xml"
    _python("-m", "pytest", "-m", "gpu", "-q", f"--junitxml={report}", *words)
    outcomes = []
    for case in ElementTree.parse(report).iter("testcase"):
        faults = [child for child in case if child.tag in ("failure", "error", "skipped")]
        status = "passed" if not faults else "skipped" if faults[0].tag == "skipped" else "failed"
        text = faults[0].get("message", "") if faults else ""
        outcomes.append(
            Outcome(f"{case.get('classname')}.{case.get('name')}", status, float(case.get("time", 0)), text)
        )
    return outcomes


def run_command(check: str, folder: Path, deadline: float) -> Outcome:
    words = [word.format(out=folder) for word in COMMANDS[check]]
    started, left_s = time.monotonic(), deadline - time.monotonic()
    if left_s <= 0:
        return Outcome(check, "skipped", 0.0, f"{LIMIT_S} s were over")
    try:
        done = _python("-m", "fitnets", *words, timeout=left_s)
    except subprocess.TimeoutExpired:
        return Outcome(check, "failed", time.monotonic() - started, f"took more than the {left_s:.0f} s that were left")
    output = (done.stdout + done.stderr).strip()
    return Outcome(check, "failed" if done.returncode else "passed", time.monotonic() - started, output[-4000:])


def markdown(outcomes: Sequence[Outcome], device: str, version: str) -> str:
    passed = sum(outcome.status == "passed" for outcome in outcomes)
    lines = [f"# Checks on {device}", "", f"PyTorch {version}; {passed} of {len(outcomes)} checks passed.", ""]
    lines += ["| check | status | seconds |", "| --- | --- | --- |"]
    lines += [f"| {outcome.check} | {outcome.status} | {outcome.seconds:.1f} |" for outcome in outcomes]
    for outcome in outcomes:
        if outcome.text:
            lines += ["", f"## {outcome.check}", "", "```", outcome.text, "```"]
    return "\n".join(lines) + "\n"


def _python(*words: str, timeout: float | None = LIMIT_S) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("make gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="folder of gpu.json and gpu.md")
    arguments, more = parser.parse_known_args(words)
    reason, checks = missing(), [*tests(more), *COMMANDS]
    if reason is not None:
        print(f"0 of {len(checks)} checks ran: {reason}. They would have been:", *checks, sep="\n  ")
        return NOT_RUN
    import torch

    deadline = time.monotonic() + LIMIT_S
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_tests(Path(folder), more)
        outcomes += [run_command(check, Path(folder), deadline) for check in COMMANDS]
    device = torch.cuda.get_device_name()
    content = {"device": device, "torch": torch.__version__, "checks": [asdict(outcome) for outcome in outcomes]}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gpu.json").write_text(json.dumps(content, indent=2) + "\n")
    (arguments.out / "gpu.md").write_text(markdown(outcomes, device, torch.__version__))
    ran = [outcome for outcome in outcomes if outcome.status != "skipped"]
    failed = [outcome.check for outcome in outcomes if outcome.status == "failed"]
    print(
        f"{len(ran)} of {len(checks)} checks ran on {device}, {len(failed)} failed; {arguments.out / 'gpu.md'}",
        *failed,
        sep="\n  ",
    )
    return int(bool(failed) or len(ran) < len(checks))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
