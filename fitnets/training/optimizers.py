"""Optimisers over named layers; every layer has its learning-rate scale and its bound on the norms of filters."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fitnets import config
from fitnets.training import schedules


class _Eager(Optimizer):
    """An optimiser whose methods lack PyTorch's wrappers.

    The wrappers keep PyTorch's compiler off the methods. At the first call they import the compiler, which takes as
    long as importing everything else, and nothing is compiled here."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class _Sgd(_Eager, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class _AdamW(_Eager, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class FlooredRmsProp(_Eager):
    """RMSProp as in pylearn2, which the paper used: w -= lr * g / max(sqrt(ms), floor).

    ms is the running mean of g^2, it starts at 0, and there is no momentum.

    decay: factor of the running mean at every update.
    floor: lower bound of the root, in place of a constant that is added to it."""

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
    """Updates a stage's layers: optimiser, learning-rate schedule, and max-norm projection after every update.

    step_count: updates done so far."""

    def __init__(self, layers: dict[str, nn.Module], stage: config.StageSettings, steps_per_epoch: int):
        self.stage = stage
        self.steps_per_epoch = steps_per_epoch
        self.optimizer = _optimizer(stage.optimizer, _groups(layers, stage))
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.bounded = _bounded(layers, stage.max_norm)
        self.step_count = 0

    @property
    def lr(self) -> float:
        """The learning rate of the next update, before the layers' scales."""
        return schedules.learning_rate(self.stage, self.step_count, self.steps_per_epoch)

    def update(self, loss: Tensor, reduce: Callable[[list[Tensor]], None] | None = None) -> None:
        """Do one update from the gradients of a loss, a scalar.

        reduce: replaces the gradients, in the order of the parameters, by their sums over several processes"""
        lr = self.lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
            if isinstance(self.stage.optimizer, config.Sgd):
                group["momentum"] = schedules.momentum(self.stage.optimizer, self.step_count // self.steps_per_epoch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if reduce is not None:
            reduce([torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters])
        if self.stage.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.stage.max_grad_norm)
        self.optimizer.step()
        project(self.bounded)
        self.step_count += 1


@torch.no_grad()
def project(bounded: list[tuple[Tensor, float]]) -> None:
    """Scale every filter whose L2 norm exceeds its bound back to that bound.

    bounded: pairs of a weight tensor and its bound. A filter is a row of the weights: in maxout, one piece."""
    for weight, bound in bounded:
        weight.renorm_(p=2, dim=0, maxnorm=bound)


def _optimizer(settings: config.Optimizer, groups: list[dict[str, Any]]) -> Optimizer:
    fused = groups[0]["params"][0].device.type == "cpu" or None  # on a GPU the default is as fast
    match settings:
        case config.RmsProp(lr=lr, decay=decay, floor=floor):
            return FlooredRmsProp(groups, lr=lr, decay=decay, floor=floor)
        case config.Sgd(lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay):
            return _Sgd(_decaying(groups, weight_decay), lr=lr, momentum=momentum, nesterov=nesterov, fused=fused)
        case config.AdamW(lr=lr, weight_decay=weight_decay):
            return _AdamW(_decaying(groups, weight_decay), lr=lr, fused=fused)


def _decaying(groups: list[dict[str, Any]], weight_decay: float) -> list[dict[str, Any]]:
    return [group | {"weight_decay": weight_decay if group["decayed"] else 0.0} for group in groups]


def _groups(layers: dict[str, nn.Module], stage: config.StageSettings) -> list[dict[str, Any]]:
    """Parameter groups, one for each pair of learning-rate scale and weight decay on or off. Biases never decay."""
    of_biases = stage.optimizer.bias_lr_scale if isinstance(stage.optimizer, config.Sgd) else 1.0
    grouped: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for name, layer in layers.items():
        scale = _by_name_or_kind(stage.lr_scale, name, layer)
        scale = 1.0 if scale is None else scale
        for key, parameter in layer.named_parameters():
            is_weight = key.endswith("weight")
            grouped[scale if is_weight else scale * of_biases, is_weight].append(parameter)
    return [{"params": params, "lr_scale": scale, "decayed": decayed} for (scale, decayed), params in grouped.items()]


def _bounded(layers: dict[str, nn.Module], max_norm: dict[str, float]) -> list[tuple[Tensor, float]]:
    bounded: list[tuple[Tensor, float]] = []
    for name, layer in layers.items():
        bound = _by_name_or_kind(max_norm, name, layer)
        if bound is not None:
            bounded += [(part.weight, bound) for part in layer.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    return bounded


def _by_name_or_kind(table: dict[str, float], name: str, layer: nn.Module) -> float | None:
    return table.get(name, table.get(str(layer.kind)))
