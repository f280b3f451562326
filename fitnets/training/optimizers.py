"""Optimisers over named layers: each with its learning-rate scale and its bound on the filters' norms."""

import inspect
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fitnets import config
from fitnets.training import schedules


class _Eager(Optimizer):
    """Its methods without PyTorch's wrappers. Those keep its compiler off the methods, for which they import it when
    they are first called: that takes as long as importing all else, and nothing is compiled here."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class _Sgd(_Eager, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class _AdamW(_Eager, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class FlooredRmsProp(_Eager):
    """RMSProp as in pylearn2, which the paper used: w -= lr * g / max(sqrt(ms), floor), ms from 0, no momentum."""

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, decay: float, floor: float):
        super().__init__(params, {"lr": lr, "decay": decay, "floor": floor})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            for p in params:
                if "mean_square" not in self.state[p]:
                    self.state[p]["mean_square"] = torch.zeros_like(p)
            means = [self.state[p]["mean_square"] for p in params]
            torch._foreach_mul_(means, group["decay"])
            torch._foreach_addcmul_(means, grads, grads, value=1 - group["decay"])
            roots = torch._foreach_sqrt(means)
            torch._foreach_clamp_min_(roots, group["floor"])
            torch._foreach_addcdiv_(params, grads, roots, value=-group["lr"])


class LayerOptimizer:
    """Updates a stage's layers: the optimiser, its schedule, and the max-norm projection after every update."""

    def __init__(self, layers: dict[str, nn.Module], stage: config.StageSettings, steps_per_epoch: int):
        self.stage = stage
        self.steps_per_epoch = steps_per_epoch
        self.optimizer = _optimizer(stage.optimizer, _groups(layers, stage.lr_scale))
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.bounded = _bounded(layers, stage.max_norm)
        self.step_count = 0

    @property
    def lr(self) -> float:
        """Of the next update, before any layer's own scale."""
        return schedules.learning_rate(self.stage, self.step_count, self.steps_per_epoch)

    def update(self, loss: Tensor) -> None:
        """One update from the gradients of a loss."""
        lr = self.lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
            if isinstance(self.stage.optimizer, config.Sgd):
                group["momentum"] = schedules.momentum(self.stage.optimizer, self.step_count // self.steps_per_epoch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.stage.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.stage.max_grad_norm)
        self.optimizer.step()
        project(self.bounded)
        self.step_count += 1


@torch.no_grad()
def project(bounded: list[tuple[Tensor, float]]) -> None:
    """Scale each filter (each linear piece: a row of the weights) back to its largest allowed L2 norm."""
    for weight, bound in bounded:
        weight.renorm_(p=2, dim=0, maxnorm=bound)


def _optimizer(settings: config.Optimizer, groups: list[dict[str, Any]]) -> Optimizer:
    fused = groups[0]["params"][0].device.type == "cpu" or None  # a GPU's default is as quick
    match settings:
        case config.RmsProp(lr=lr, decay=decay, floor=floor):
            return FlooredRmsProp(groups, lr=lr, decay=decay, floor=floor)
        case config.Sgd(lr=lr, momentum=momentum):
            return _Sgd(groups, lr=lr, momentum=momentum, fused=fused)
        case config.AdamW(lr=lr, weight_decay=weight_decay):
            for group in groups:
                group["weight_decay"] = weight_decay if group["decayed"] else 0.0
            return _AdamW(groups, lr=lr, fused=fused)


def _groups(layers: dict[str, nn.Module], lr_scale: dict[str, float]) -> list[dict[str, Any]]:
    """Parameters by (scale, decayed or not); only weights are decayed, never biases."""
    grouped: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, layer in layers.items():
        scale = _of_layer(lr_scale, name, layer)
        for key, parameter in layer.named_parameters():
            grouped[1.0 if scale is None else scale, key.endswith("weight")].append(parameter)
    return [{"params": params, "lr_scale": scale, "decayed": decayed} for (scale, decayed), params in grouped.items()]


def _bounded(layers: dict[str, nn.Module], max_norm: dict[str, float]) -> list[tuple[Tensor, float]]:
    bounded: list[tuple[Tensor, float]] = []
    for name, layer in layers.items():
        bound = _of_layer(max_norm, name, layer)
        if bound is not None:
            bounded += [(part.weight, bound) for part in layer.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    return bounded


def _of_layer(table: dict[str, float], name: str, layer: nn.Module) -> float | None:
    """The entry under the layer's name, else under its kind."""
    return table.get(name, table.get(str(layer.kind)))
