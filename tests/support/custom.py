"""Networks of users, and short runs with them."""

import torch

from fitnets.composition import loading
from fitnets.config import CustomStudent, CustomTeacher
from fitnets.models.custom import wrapping
from fitnets.models.custom.adapter import CustomNetwork

IMAGES = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
SHORT = ["tracker=none", "schedule.hint.epochs=1", "schedule.student.epochs=1"]
NEVER_SEEN = '''
import torch
from torch import nn


class Wobbly(nn.Module):
    """No Sequential, a dict as output, odd names, shared modules, in-place ReLU, parameters of its own."""

    def __init__(self, n_out, breadth):
        super().__init__()
        self.Größe = nn.Conv2d(1, breadth, 3, padding=1)
        self.again = nn.Conv2d(breadth, breadth, 3, padding=1)
        self.bend = nn.ReLU(inplace=True)
        self.norm_1 = nn.BatchNorm2d(breadth)
        self.offset = nn.Parameter(torch.zeros(1, breadth, 1, 1))
        self.temper = nn.Parameter(torch.ones(1))
        self.exit = nn.Linear(breadth, n_out)
        self.same_exit = self.exit

    def forward(self, x):
        x = self.bend(self.Größe(x)) + self.offset
        x = self.bend(self.norm_1(self.again(x)))
        x = self.bend(self.again(x))
        pooled = x.mean((2, 3))
        return {"embedding": pooled, "answer": self.same_exit(pooled) * self.temper}


def make(n_out=10, breadth=16):
    return Wobbly(n_out, breadth)
'''
WOBBLY = ["teacher=custom", "teacher.target=wobbly_net.make", "teacher.args={breadth: 24}", "teacher.logits=answer"]


def network(target: str, side: str = "teacher", **options) -> CustomNetwork:
    """Build a custom network for the digits."""
    config = loading.load(["method=kd", "hint_layer=none"])
    kind = CustomTeacher if side == "teacher" else CustomStudent
    return wrapping.network(kind(target=f"own_models.{target}", **options), config.dataset, side)
