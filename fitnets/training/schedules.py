"""Learning rate and momentum as pure functions of the position in a stage."""

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
        case config.TriangularLr(warmup=share):
            steps = stage.epochs * steps_per_epoch
            rising, falling = (step + 1) / (share * steps + 1), (steps - step) / ((1 - share) * steps)
            return base * min(1.0, rising, falling)


def momentum(sgd: config.Sgd, epoch: int) -> float:
    """Return SGD's momentum: linear from `momentum` to `momentum_end` over `momentum_epochs`, then constant.

    epoch: counted from 0."""
    return sgd.momentum + (sgd.momentum_end - sgd.momentum) * min(1.0, epoch / sgd.momentum_epochs)
