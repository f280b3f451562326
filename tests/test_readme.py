"""The README's ten lines, as they stand there, on a residual network that the project does not know; its tables, from
what is kept of the runs."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import readme_tables
from conftest import ROOT, shell
from matplotlib.testing.compare import compare_images
from test_pipeline import runs

from fitnets.composition import loading
from fitnets.planning import identity
from fitnets.reporting import reproduced

KEPT_TABLES = sorted(readme_tables.KEPT.glob("*/table.json"))
MY_RESNET = """
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        self.skip = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.skip(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stage1 = nn.Sequential(Block(1, 24, 1), Block(24, 24, 1))
        self.stage2 = nn.Sequential(Block(24, 48, 2), Block(48, 48, 1))
        self.fc = nn.Linear(48, 10)

    def forward(self, x):
        return self.fc(self.stage2(self.stage1(x)).mean((2, 3)))


def make():
    return ResNet()
"""
ITS_TRAINING = """
import torch, my_resnet
from sklearn.datasets import load_digits
torch.manual_seed(0)
digits = load_digits()
images, labels = torch.tensor(digits.images[:1400, None], dtype=torch.float32) / 16, torch.tensor(digits.target[:1400])
model = my_resnet.make()
optimizer = torch.optim.Adam(model.parameters(), 2e-3)
for epoch in range(6):
    for rows in torch.randperm(len(labels)).split(32):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
torch.save(model.state_dict(), "my_resnet.pt")
"""


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    return found


@pytest.mark.slow
def test_ten_lines(tmp_path: Path):
    (lines,) = re.findall(r"```sh\n(.*?)```", section("Distil your own ResNet in ten lines"), flags=re.S)
    assert len(lines.splitlines()) == 10
    (tmp_path / "my_resnet.py").write_text(MY_RESNET)
    (tmp_path / "run.py").symlink_to(ROOT / "run.py")
    trained = shell("-c", ITS_TRAINING, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    finished = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env=os.environ | {"PATH": path},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "│ stage2.0" in finished.stdout
    ((name, result),) = runs(tmp_path / "outputs").items()
    assert result["teacher"]["test_accuracy"] > 0.9
    assert result["student"]["test_accuracy"] > 0.9
    assert (result["hint"]["teacher_layer"], result["hint"]["student_layer"]) == ("stage2.0", "conv5")
    files = {path.name for path in (tmp_path / "outputs" / "run" / name / "export").iterdir()}
    assert {"student.onnx", "student.pt2", "student-int8.onnx", "card.md"} <= files
    answers = json.loads(re.sub(r" +", ",", finished.stdout.splitlines()[-1].replace("[ ", "[")))
    assert sum(answer == digit for digit, answer in enumerate(answers)) >= 7


class TestTables:
    text = (ROOT / "README.md").read_text()

    def test_are_what_the_kept_results_give(self):
        assert readme_tables.rewritten(self.text) == self.text, "run python tests/readme_tables.py"

    def test_show_all_that_is_kept(self):
        kept = {path.stem if path.is_file() else path.name for path in readme_tables.KEPT.iterdir()}
        assert kept <= set(readme_tables.names(self.text))

    def test_hold_every_figure(self):
        """None is written by hand: outside the blocks no table has a cell that begins with a number."""
        written = re.sub(r"<!-- table: .*?<!-- end -->", "", self.text, flags=re.S)
        lines = [line for line in written.splitlines() if line.startswith(("|", "│"))]
        cells = [cell.strip() for line in lines for cell in re.split(r"[|│]", line)]
        assert [cell for cell in cells if re.match(r"[-+~]?\d", cell)] == []

    @pytest.mark.parametrize("folder", KEPT_TABLES, ids=lambda path: path.parent.name)
    def test_of_the_paper_have_an_interval_or_say_that_there_is_none_and_a_command(self, folder):
        text = reproduced.document(folder.parent)
        _, table, verdicts, _, _, commands, _ = text.split("\n\n")
        rows, verdicts = ([line[2:-2].split(" | ") for line in part.splitlines()[2:]] for part in (table, verdicts))
        told = json.loads(folder.read_text())
        ours = [row[4:] for row, one in zip(rows, told["rows"], strict=True) if one["cells"]]
        figures = [figure for row in ours for figure in row] + [one for row in verdicts for one in row[1:3]]
        for figure in figures:
            assert re.search(r"± \d+\.\d+ \(n = \d+|\(n = 1, no interval|no interval \(n = 1", figure), figure
        for row in told["rows"]:
            for schedule, candidates in row["cells"].items():
                for one in candidates:
                    runs = " ".join(one["runs"].values())
                    assert f"| {row['label']} | {schedule} | `{one['command']}` | {runs} |" in commands

    @pytest.mark.parametrize("folder", KEPT_TABLES, ids=lambda path: path.parent.name)
    def test_of_the_paper_say_what_the_recipes_say(self, folder):
        told = json.loads(folder.read_text())
        assert readme_tables.told_anew(told) == told, "run python tests/readme_tables.py"

    def test_and_figures_are_drawn_of_what_is_kept(self, tmp_path):
        readme_tables.draw(tmp_path)
        for name in ("results/figure2/figure2.png", "screenshots/similarity.png"):
            kept, drawn = (str(folder / name) for folder in (ROOT / "analysis", tmp_path))
            assert compare_images(kept, drawn, tol=1) is None, "run python tests/readme_tables.py"

    @pytest.mark.parametrize("folder", KEPT_TABLES, ids=lambda path: path.parent.name)
    def test_of_the_paper_have_commands_that_give_their_hashes(self, folder):
        told = json.loads(folder.read_text())
        digests = {json.loads(path.read_text())["hashes"]["data"] for path in folder.parent.glob("run/*/result.json")}
        (digest,) = digests
        for candidate in (one for row in told["rows"] for found in row["cells"].values() for one in found):
            *words, _ = [word for word in shlex.split(candidate["command"])[2:] if word != "-m"]
            config = loading.load(words)
            for seed, name in candidate["runs"].items():
                hashes = identity.hashes(replace(config, seed=int(seed)), digest, config.engine.precision)
                assert hashes.run == name
