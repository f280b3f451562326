"""Learning rate, momentum and lambda as pure functions of the position in a stage."""

import math

from fitnets import config


def learning_rate(stage: config.StageSettings, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of an update, before the layers' scales (`lr_scale`).

    step: number of the update in its stage, counted from 0."""
    base = stage.optimizer.lr
    epoch = step / steps_per_epoch
    match stage.lr_decay:
        case config.ConstantLr():
            return base
        case config.LinearLr(final_factor=end, epochs=epochs):
            return base * (1 + (end - 1) * min(1.0, epoch / epochs))
        case config.ExponentialLr(divisor=divisor, minimum=minimum):
            return max(base * math.exp(-step * math.log(divisor)), min(base, minimum))
        case config.CosineLr(warmup=warmup):
            warm_steps = min(warmup, stage.epochs / 2) * steps_per_epoch
            if step < warm_steps:
                return base * (step + 1) / (warm_steps + 1)
            progress = (step - warm_steps) / (stage.epochs * steps_per_epoch - warm_steps)
            return base * (1 + math.cos(math.pi * progress)) / 2


def momentum(sgd: config.Sgd, epoch: int) -> float:
    """Return SGD's momentum: linear from `momentum` to `momentum_end` over `momentum_epochs`, then constant.

    epoch: counted from 0."""
    return sgd.momentum + (sgd.momentum_end - sgd.momentum) * min(1.0, epoch / sgd.momentum_epochs)


def kd_weight(kd: config.Distillation, epoch: int, epochs: int) -> float:
    """Return lambda of Eq. 2: `weight` up to `start_epoch`, then linear, then `weight_end` from `end_epoch` on.

    epoch: counted from 0.
    epochs: length of the stage; lambda reaches its end in the last epoch if `end_epoch` is None.

    The released code's TeacherDecayOverEpoch(start, saturate, final) counts monitorings, and monitors once before the
    first epoch. Its numbers translate to start_epoch = start - 2 and end_epoch = saturate - 1.
    """
    end = epochs - 1 if kd.end_epoch is None else kd.end_epoch
    if epoch >= end:
        return kd.weight_end
    progress = max(0, epoch - kd.start_epoch) / (end - kd.start_epoch) if end > kd.start_epoch else 0.0
    return kd.weight + (kd.weight_end - kd.weight) * progress
