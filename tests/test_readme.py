"""The README: its length, its ten lines on an unknown residual network, its commands, its links, its tables."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from fitnets.composition import loading
from fitnets.terms import registry
from support.places import ROOT
from support.processes import shell
from support.runs import runs

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
        self.stage1 = nn.Sequential(Block(1, 12, 1), Block(12, 12, 1))
        self.stage2 = nn.Sequential(Block(12, 24, 2), Block(24, 24, 1))
        self.fc = nn.Linear(24, 10)

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
optimizer = torch.optim.Adam(model.parameters(), 4e-3)
for epoch in range(5):
    for rows in torch.randperm(len(labels)).split(32):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
torch.save(model.state_dict(), "my_resnet.pt")
"""


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    return found


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


def test_the_commands_about_loss_terms_compose():
    """The commands with a loss of one's own need its file and are left to `terms/test_custom_losses.py`."""
    text = (ROOT / "conf" / "README.md").read_text().partition("## Loss terms")[2].partition("## Important keys")[0]
    commands = re.findall(r"^python run.py (.*)$", text, flags=re.M)
    assert len(commands) >= 5
    for words in (shlex.split(command, comments=True) for command in commands if "my_losses" not in command):
        config = loading.load(words)
        assert registry.options(config.method, "student")
    (pairs,) = re.findall(r"`(hint_layer=pairs .*?)`\. Each", text)
    assert set(loading.load(shlex.split(pairs)).hint_layer.pairs) == {"low", "high"}


class TestPage:
    text = (ROOT / "README.md").read_text()

    def test_is_short_and_begins_with_a_command(self):
        assert len(self.text.splitlines()) <= 200
        assert len(self.text.encode()) <= 16_384
        assert "make run" in "\n".join(self.text.splitlines()[:15])

    def test_links_lead_somewhere(self):
        pages = [ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("analysis/results/*.md")]
        for page in pages:
            text = page.read_text()
            for target in re.findall(r"\]\(([^)#:]*)(?:#[^)]*)?\)", text):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
            for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", text):
                linked = (page.parent / target).read_text() if target else text
                titles = re.findall(r"^#+ (.*)$", linked, flags=re.M)
                anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
                assert anchor in anchors, f"{page.relative_to(ROOT)} links to {target}#{anchor}"

    def test_names_every_question_and_group(self):
        for path in [*(ROOT / "sweeps").glob("*.yaml"), *(path for path in (ROOT / "conf").iterdir() if path.is_dir())]:
            if path.stem not in ("base", "engine", "hydra"):
                assert f"`{path.stem}`" in self.text, path

    def test_has_no_figure_that_was_typed(self):
        """No table has a cell that begins with a number, except those that are written from stored results."""
        typed = re.sub(r"<!-- results: .*?<!-- end -->", "", self.text, flags=re.S)
        lines = [line for line in typed.splitlines() if line.startswith(("|", "│"))]
        cells = [cell.strip() for line in lines for cell in re.split(r"[|│]", line)]
        assert [cell for cell in cells if re.match(r"[-+~]?\d", cell)] == []
