"""Weights of other programs: every form that `load_state_dict` accepts can be loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import odd_models
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fitnets.composition import loading
from fitnets.config import CustomTeacher
from fitnets.errors import ConfigError
from fitnets.models.custom import weights, wrapping

State = dict[str, Any]


def trained(make: Callable[[], nn.Module] = odd_models.small) -> nn.Module:
    """Return a model with weights that no factory draws."""
    torch.manual_seed(11)
    return make()


def load(model: nn.Module, path: Path) -> nn.Module:
    weights.load(path, model, "teacher.weights", lambda: print(model(torch.rand(2, 1, 8, 8)).shape))
    return model


def saved(content: Any, tmp_path: Path) -> Path:
    torch.save(content, tmp_path / "w.pt")
    return tmp_path / "w.pt"


def assert_same(model: nn.Module, expected: nn.Module) -> None:
    parameters = dict(expected.named_parameters())
    assert parameters
    for name, values in model.named_parameters():
        assert torch.equal(values, parameters[name]), name


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {f"{prefix}{name}": values for name, values in state.items()}


FORMS: dict[str, Callable[[State], Any]] = {
    "as it is": lambda state: state,
    "without the counter of batch normalisation": lambda state: {
        name: values for name, values in state.items() if "num_batches" not in name
    },
    "without that counter in the format that has it": lambda state: [state.pop("1.num_batches_tracked"), state][1],
    "DataParallel": prefixed("module."),
    "torch.compile": prefixed("_orig_mod."),
    "compiled and parallel": prefixed("module._orig_mod."),
    "a part was compiled": lambda state: {name.replace("0.", "0._orig_mod.", 1): v for name, v in state.items()},
    "Lightning": lambda state: {"state_dict": prefixed("model.")(state), "epoch": 3, "optimizer_states": [{}]},
    "a prefix of the user's": prefixed("classifier.net."),
    "in state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "in model": lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.ones(())}}}, "lr": 0.1},
    "nested": lambda state: {"checkpoint": {"network": prefixed("module.")(state)}},
    "numbers beside the weights": lambda state: {**state, "epoch": 3, "name": "best"},
    "EMA alone": lambda state: {"ema_state": prefixed("module.")(state) | {"n_averaged": torch.tensor(3)}},
    "this project's student": lambda state: prefixed("model.")(state) | {"image_scale": torch.ones(1, 1, 1, 1)},
    "float64": lambda state: {name: values.double() for name, values in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_every_form_of_the_same_weights_is_loaded(tmp_path, form, kind):
    model = trained()
    content = FORMS[form](model.state_dict())
    path = saved(content, tmp_path)
    if kind == "safetensors":
        if not all(isinstance(values, Tensor) for values in content.values()):
            pytest.skip("safetensors only holds tensors")
        path = tmp_path / "w.safetensors"
        save_file({name: values.contiguous() for name, values in content.items()}, path)
    assert_same(load(odd_models.small(), path), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_converted_to_fp32(tmp_path, dtype):
    model = trained()
    loaded = load(odd_models.small(), saved({k: v.to(dtype) for k, v in model.state_dict().items()}, tmp_path))
    torch.testing.assert_close(loaded[0].weight, model[0].weight.to(dtype).float(), rtol=0, atol=0)


@pytest.mark.parametrize("make", [odd_models.parallel, odd_models.compiled, lambda: AveragedModel(odd_models.small())])
def test_a_wrapped_model_takes_the_weights_of_a_bare_one(tmp_path, make):
    model, wrapped = trained(), make()
    load(wrapped, saved(model.state_dict(), tmp_path))
    assert_same(next(child for child in wrapped.children()), model)


def test_plain_weights_are_preferred_to_their_average(tmp_path):
    model, average = trained(), odd_models.small()
    content = {"model_ema": average.state_dict(), "model": model.state_dict()}
    assert_same(load(odd_models.small(), saved(content, tmp_path)), model)


def test_layers_takes_weights_without_the_counter_of_batch_normalisation(tmp_path, fitnets):
    plain = {name: v for name, v in trained().state_dict().items() if "num_batches_tracked" not in name}
    path = saved(plain, tmp_path)
    thin = ["student=thin", "student.depth=3", "student.width=4", "hint_layer=middle", "tracker=none"]
    finished = fitnets("layers", "teacher=custom", "teacher.target=odd_models.small", f"teacher.weights={path}", *thin)
    assert finished.code == 0, finished.err


def test_extra_state_lazy_modules_and_buffers_of_the_first_call_are_loaded(tmp_path):
    for make in (odd_models.extra, odd_models.lazy, odd_models.growing):
        model = trained(make).eval()
        model(torch.rand(2, 1, 8, 8))
        assert_same(load(make(), saved(model.state_dict(), tmp_path)), model)


class Renaming(nn.Module):
    """A module that accepts the names of an earlier version, with a PyTorch hook."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(64, 10)
        self._register_load_state_dict_pre_hook(self._rename)

    def _rename(self, state, prefix, *_):
        for key in ("weight", "bias"):
            if f"{prefix}fc.{key}" in state:
                state[f"{prefix}last.{key}"] = state.pop(f"{prefix}fc.{key}")

    def forward(self, images):
        return self.last(images.flatten(1))


def test_renaming_hooks_of_the_model_are_used(tmp_path):
    model = Renaming()
    old = {name.replace("last", "fc"): values for name, values in model.state_dict().items()}
    assert_same(load(Renaming(), saved(old, tmp_path)), model)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.register_buffer("mask", torch.full((3,), -torch.inf))

    def forward(self, images):
        return self.second(self.first(images.flatten(1)))


def test_tied_weights_that_safetensors_stores_once_and_masks_with_infinities_are_loaded(tmp_path):
    model = Tied()
    save_model(model, str(tmp_path / "w.safetensors"))
    loaded = load(Tied(), tmp_path / "w.safetensors")
    assert torch.equal(loaded.second.weight, model.first.weight)


REFUSED: dict[str, tuple[Callable[[State], State], str]] = {
    "missing": (
        lambda state: {name: v for name, v in state.items() if not name.startswith("4")},
        r"not the weights of this model: 2 of the model's tensors are not in the file \(4.weight, 4.bias",
    ),
    "other names": (
        lambda state: {name.replace("4.", "head4."): v for name, v in state.items()},
        r"\(4.weight, 4.bias; the file has head4.weight\); 2 of its tensors are not in the model \(head4.weight, ",
    ),
    "other shapes behind a prefix": (
        lambda state: prefixed("module.")(state | {"4.weight": torch.zeros(10, 99)}),
        r"not the weights of this model: 4.weight is 10x99 in the file and 10x256 in the model",
    ),
    "not finite": (lambda state: state | {"4.bias": torch.full((10,), torch.nan)}, r"10 of the 10 values in 4.bias"),
    "too large for float32": (
        lambda state: state | {"4.bias": torch.full((10,), 1e300, dtype=torch.float64)},
        r"10 of the 10 values in 4.bias are not finite",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_weights_are_refused_with_their_names(tmp_path, case):
    change, pattern = REFUSED[case]
    path = saved(change(odd_models.small().state_dict()), tmp_path)
    with pytest.raises(ConfigError, match=pattern):
        load(odd_models.small(), path)


def test_many_missing_names_are_listed_shortly(tmp_path):
    path = saved({"4.bias": torch.zeros(10)}, tmp_path)
    with pytest.raises(ConfigError, match=r"^.{0,300}$") as caught:
        load(odd_models.small(), path)
    assert "..." in str(caught.value)


def test_weights_are_loaded_into_a_model_that_cannot_be_copied(tmp_path):
    model = trained(odd_models.old_weight_norm)
    path = saved(model.state_dict(), tmp_path)
    net = CustomTeacher(target="odd_models.old_weight_norm", weights=str(path))
    teacher = wrapping.network(net, loading.load([]).dataset, "teacher")
    assert torch.equal(teacher.model[0].weight_v, model[0].weight_v)
