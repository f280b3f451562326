"""The benchmark's tests share a stand-in for a checkout of RepDistiller."""

import textwrap

import pytest


@pytest.fixture
def repdistiller(tmp_path):
    """A folder with stand-ins for everything that the adapter imports from a checkout of RepDistiller."""
    files = {
        "helper/__init__.py": "",
        "helper/loops.py": """
            import torch

            def train_distill(epoch, loader, modules, criteria, optimizer, opt):
                for module in modules:
                    module.train()
                modules[-1].eval()
                for images, labels, index in loader:
                    features, logits = modules[0](images, is_feat=True, preact=False)
                    with torch.no_grad():
                        taught, answers = modules[-1](images, is_feat=True, preact=False)
                    loss = opt.gamma * criteria[0](logits, labels) + opt.alpha * criteria[1](logits, answers)
                    if opt.distill == "hint":
                        mapped = modules[1](features[opt.hint_layer])
                        loss = loss + opt.beta * criteria[2](mapped, taught[opt.hint_layer])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    print("not to be seen")
        """,
        "helper/util.py": """
            def adjust_learning_rate(epoch, opt, optimizer):
                passed = sum(epoch > place for place in opt.lr_decay_epochs)
                for group in optimizer.param_groups:
                    group["lr"] = opt.learning_rate * opt.lr_decay_rate**passed
        """,
        "distiller_zoo/__init__.py": """
            import torch
            from torch import nn

            HintLoss = nn.MSELoss

            class DistillKL(nn.Module):
                def __init__(self, temperature):
                    super().__init__()

                def forward(self, mine, theirs):
                    return (mine - theirs).square().mean()
        """,
        "models/__init__.py": "",
        "models/util.py": """
            from torch import nn

            class ConvReg(nn.Module):
                def __init__(self, mine, theirs):
                    super().__init__()
                    self.mapping = nn.Sequential(nn.Conv2d(mine[1], theirs[1], 1), nn.AdaptiveAvgPool2d(theirs[2:]))

                def forward(self, values):
                    return self.mapping(values)
        """,
    }
    for name, text in files.items():
        path = tmp_path / "peer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / "peer"
