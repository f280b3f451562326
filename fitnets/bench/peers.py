"""Training steps of other frameworks (peers), run on our networks by the framework's own code.

The user names a checkout of the framework; none of its code is here. An adapter gives the framework the networks in
the form that it expects and calls the framework's function for one batch.
"""

import contextlib
import importlib
import io
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.machinery import ModuleSpec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, multiprocessing, nn

from fitnets.config import Config, methods
from fitnets.data.splits import Batch
from fitnets.errors import ConfigError, suggest
from fitnets.machine import latency
from fitnets.models.network import Network, freeze
from fitnets.paths import expanded
from fitnets.planning.plan import new_student, new_teacher
from fitnets.terms.losses.hint import HintTerm

Step = Callable[[], None]
"""does one training step"""
_LR = 1e-6
_TEMPERATURE = 4.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A framework and the folder with a checkout of it."""

    name: str
    folder: Path

    @property
    def computes(self) -> dict[str, str]:
        """Describe what each kind of step computes."""
        return _ADAPTERS[self.name].computes


def find(argument: str) -> Peer:
    """Read NAME=FOLDER from the command line. Raises ConfigError if there is no such peer or folder."""
    name, _, folder = argument.partition("=")
    if name not in _ADAPTERS:
        raise ConfigError(
            f"--peer {argument}: no such peer{suggest(name, list(_ADAPTERS))} (peers: {', '.join(_ADAPTERS)})"
        )
    path = expanded(folder)
    if not folder or not path.is_dir():
        problem = f"{path} is no folder: " if folder else ""
        raise ConfigError(f"--peer {argument}: {problem}give {name}=DIR, the folder with a checkout of {name}")
    return Peer(name, path)


# --- a process for each peer, as its users run it ---


@contextlib.contextmanager
def start_peer(peer: Peer, config: Config, batch: Batch) -> Iterator[dict[str, Callable[[], float]]]:
    """Run a peer in a process of its own while the block runs. Its networks are those of the configuration, in fp32 and
    in PyTorch's default memory layout.

    Yields functions by kind of step; each does one step and returns its seconds.

    Raises ConfigError if the checkout cannot be used."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    on_cpu = Batch(batch.images.cpu(), batch.labels.cpu(), batch.rows.cpu())
    arguments = (there, peer, config, on_cpu, batch.images.device)
    process = context.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    there.close()  # so that `here.recv` raises EOFError when the process ends
    try:
        if problem := here.recv():
            raise ConfigError(problem)
        yield {kind: partial(_step_in_process, here, kind) for kind in peer.computes}
    except (EOFError, BrokenPipeError) as error:
        raise ConfigError(
            f"--peer {peer.name}={peer.folder}: its process ended with the error above: give a checkout that works here"
        ) from error
    finally:
        process.kill()
        process.join()


def _step_in_process(connection: Connection, kind: str) -> float:
    """Let the peer's process do a step of a kind. Returns the step's seconds."""
    connection.send(kind)
    step_s: float = connection.recv()
    return step_s


def _serve(connection: Connection, peer: Peer, config: Config, batch: Batch, device: torch.device) -> None:
    """The main function of a peer's process: do each step that the connection requests and send its seconds back. The
    first message is empty if the checkout can be used, else it is the reason."""
    torch.set_num_threads(config.engine.threads or torch.get_num_threads())
    torch.backends.cudnn.allow_tf32 = False
    try:
        on_device = Batch(batch.images.to(device), batch.labels.to(device), batch.rows.to(device))
        steps = _steps(peer, config, on_device)
    except (ImportError, AttributeError, FileNotFoundError) as error:
        connection.send(f"--peer {peer.name}={peer.folder}: no checkout of {peer.name} that can be used ({error})")
        return
    connection.send("")
    while True:
        # `timed` does a warm-up step first, because the process slept
        (step_s,) = latency.timed(steps[connection.recv()], device, repeats=1)
        connection.send(step_s)


def _steps(peer: Peer, config: Config, batch: Batch) -> dict[str, Step]:
    adapter = _ADAPTERS[peer.name](peer.folder)
    teacher, student, _ = _networks(config, batch.images.device)
    steps = {"KD": adapter.kd(teacher, student, batch)}
    teacher, student, hint = _networks(config, batch.images.device)
    return steps | {"hint": adapter.hint(teacher, student, hint, batch)}


def _networks(config: Config, device: torch.device) -> tuple[Network, Network, HintTerm]:
    teacher = freeze(new_teacher(config))
    student, (stage, *_) = new_student(replace(config, method=methods.hints()), teacher)
    (hint,) = stage.terms
    assert isinstance(hint, HintTerm)
    for module in (teacher, student, *hint.heads.values()):
        module.to(device=device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return teacher, student, hint


class _Adapter(Protocol):
    """Does the steps of one framework.

    computes: what each kind of step computes, in words"""

    computes: ClassVar[dict[str, str]]

    def __init__(self, folder: Path): ...

    def kd(self, teacher: Network, student: Network, batch: Batch) -> Step: ...

    def hint(self, teacher: Network, student: Network, hint: HintTerm, batch: Batch) -> Step: ...


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


# --- RepDistiller (Tian et al., 2020) ---


class WithFeatures(nn.Module):
    """A network that returns (the features of its layers, logits), as RepDistiller's networks do."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, is_feat: bool = False, preact: bool = False) -> tuple[list[Tensor], Tensor]:
        logits, features = self.network(images, self.network.hint_layer_names)
        return list(features.values()), logits


def repdistiller_weights(method: str) -> dict[str, float]:
    """The factors on the label term, on the softened outputs and on the features in RepDistiller's scripts. method: kd
    or hint"""
    weights = {"kd": (0.1, 0.9, 0.0), "hint": (1.0, 0.0, 100.0)}
    return dict(zip(("gamma", "alpha", "beta"), weights[method], strict=True))


class _RepDistiller:
    """One batch through RepDistiller's `train_distill`, whose one stage runs the whole student and teacher."""

    computes: ClassVar[dict[str, str]] = {
        "KD": "whole student forward and backward, whole teacher forward, cross-entropy + KL, accuracy",
        "hint": "the same with its ConvReg and mean squared error instead of KL",
    }

    def __init__(self, folder: Path):
        with importable(folder):
            self.loops = importlib.import_module("helper.loops")
            self.losses = importlib.import_module("distiller_zoo")
            self.models = importlib.import_module("models.util")

    def kd(self, teacher: Network, student: Network, batch: Batch) -> Step:
        options = {"distill": "kd", "hint_layer": 0, **repdistiller_weights("kd")}
        return self._step([WithFeatures(student), WithFeatures(teacher)], options, batch)

    def hint(self, teacher: Network, student: Network, hint: HintTerm, batch: Batch) -> Step:
        (link,) = hint.links
        hint_layer, guided_layer = link.hint, link.guided
        index = student.hint_layer_names.index(guided_layer)
        shapes = (
            (1, *network.layer_output(layer).out_shape)
            for network, layer in ((student, guided_layer), (teacher, hint_layer))
        )
        mapping = self.models.ConvReg(*shapes).to(batch.images.device)
        options = {"distill": "hint", "hint_layer": index, **repdistiller_weights("hint")}
        return self._step([WithFeatures(student), mapping, _Relabelled(teacher, hint_layer, index)], options, batch)

    def _step(self, modules: list[nn.Module], options: dict[str, Any], batch: Batch) -> Step:
        """modules: the student first, the teacher last, a trained mapping between them"""
        trained = [parameter for module in modules[:-1] for parameter in module.parameters()]
        optimizer = torch.optim.SGD(trained, lr=_LR, momentum=0.9, weight_decay=5e-4)
        criteria = nn.ModuleList([nn.CrossEntropyLoss(), self.losses.DistillKL(_TEMPERATURE), self.losses.HintLoss()])
        arguments = types.SimpleNamespace(print_freq=10**9, **options)
        loader, module_list = [(batch.images, batch.labels, batch.rows)], nn.ModuleList(modules)

        def step() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                self.loops.train_distill(1, loader, module_list, criteria, optimizer, arguments)

        return step


class _Relabelled(WithFeatures):
    """A teacher whose hint layer has the index of the student's guided layer, because RepDistiller takes one index for
    both."""

    def __init__(self, network: Network, layer: str, index: int):
        super().__init__(network)
        self.layer = layer
        self.index = index

    def forward(self, images: Tensor, is_feat: bool = False, preact: bool = False) -> tuple[list[Tensor], Tensor]:
        logits, features = self.network(images, [self.layer])
        return [features[self.layer]] * (self.index + 1), logits


# --- torchdistill (Matsubara, 2021) ---


class _Truncated(nn.Module):
    """A network up to a layer, followed by a mapping. torchdistill redesigns networks into this form for its stage
    1."""

    def __init__(self, network: Network, layer: str, mapping: nn.Module):
        super().__init__()
        self.network = network
        self.layer = layer
        self.mapping = mapping

    def forward(self, images: Tensor) -> Tensor:
        mapped: Tensor = self.mapping(self.network.forward_until(images, self.layer))
        return mapped


class _Logits(nn.Module):
    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)[0]
        return logits


class _TorchDistill:
    """One batch through torchdistill's `DistillationBox`. In stage 1 both networks end at their layers of the pair."""

    computes: ClassVar[dict[str, str]] = {
        "KD": "whole student forward and backward, whole teacher forward, cross-entropy + KL",
        "hint": "student forward and backward up to the guided layer, teacher forward up to the hint layer, mean "
        "squared error",
    }

    def __init__(self, folder: Path):
        with importable(folder), _torchvision():
            self.box = importlib.import_module("torchdistill.core.distillation").DistillationBox

    def kd(self, teacher: Network, student: Network, batch: Batch) -> Step:
        loss = {
            "key": "KDLoss",
            "kwargs": {
                "student_module_path": ".",
                "student_module_io": "output",
                "teacher_module_path": ".",
                "teacher_module_io": "output",
                "temperature": _TEMPERATURE,
                "alpha": 0.1,
            },
        }
        return self._step(_Logits(teacher), _Logits(student), {"criterion": loss}, batch)

    def hint(self, teacher: Network, student: Network, hint: HintTerm, batch: Batch) -> Step:
        of_student = {"is_from_teacher": False, "module_path": ".", "io": "output"}
        wrapper = {"input": of_student, "target": of_student | {"is_from_teacher": True}}
        loss = {"key": "MSELoss", "kwargs": {"reduction": "mean"}}
        (link,), (regressor,) = hint.links, hint.heads.values()
        networks = _Truncated(teacher, link.hint, nn.Identity()), _Truncated(student, link.guided, regressor)
        wrapped = {"criterion": loss, "criterion_wrapper": {"key": "SimpleLossWrapper", "kwargs": wrapper}}
        return self._step(*networks, wrapped, batch)

    def _step(self, teacher: nn.Module, student: nn.Module, term: dict[str, Any], batch: Batch) -> Step:
        config = {
            "num_epochs": 1,
            "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
            "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
            "optimizer": {"key": "SGD", "kwargs": {"lr": _LR, "momentum": 0.9, "weight_decay": 5e-4}},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"distill": {**term, "weight": 1.0}}}},
        }
        box = self.box(teacher, student, {}, config, batch.images.device, None, False, 1.0)
        box.teacher_model.eval()
        box.student_model.train()

        def step() -> None:
            box.post_forward_process(loss=box.forward_process(batch.images, batch.labels, {}))

        return step


@contextlib.contextmanager
def _torchvision() -> Iterator[None]:
    """Put empty modules in the place of torchvision while the block runs, if it cannot be imported. torchdistill
    imports it for data sets and models, which its step does not use."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        stand_ins = {name: _StandIn(name) for name in _TORCHVISION}
        sys.modules.update(stand_ins)
        try:
            yield
        finally:
            for name in stand_ins:
                del sys.modules[name]
    else:
        yield


_TORCHVISION = ["torchvision"] + [
    f"torchvision.{name}"
    for name in (
        *("datasets", "models", "ops", "transforms", "transforms.functional"),
        *("models.densenet", "models.detection", "models.resnet", "models.segmentation"),
    )
]


class _StandIn(types.ModuleType):
    """A module in which every name is an empty class."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__: list[str] = []
        self.__spec__ = ModuleSpec(name, None, is_package=True)

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


_ADAPTERS: dict[str, type[_Adapter]] = {"repdistiller": _RepDistiller, "torchdistill": _TorchDistill}
