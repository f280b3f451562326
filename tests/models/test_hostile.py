"""Models, weights and images that cannot be used: each is refused with a message that names it and a way out."""

import io
import pickle
import re
from pathlib import Path

import numpy as np
import own_models
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from support.datasets import write_images

# (id, overrides, pattern in the message). {t}: "teacher" or "student"; {a}: a model of `own_models.wrapped_logits`,
# whose form follows; {w}: `own_models.small` with a weight file of the fixture `places`, whose name follows.
MODELS = [
    ("no import path", "{t}.target=small", r"{t}.target=small: not an import path: give package.module.factory"),
    ("no module", "{t}.target=nowhere.small", r"{t}.target=nowhere.small: no module nowhere in the current folder"),
    (
        "no factory",
        "{t}.target=own_models.smal",
        r"{t}.target=own_models.smal: no smal in own_models; did you mean small",
    ),
    ("no function", "{t}.target=own_models.__doc__", r"that is a str: give a function or a class"),
    ("its import fails", "{t}.target=broken_models.make", r"importing broken_models failed \(SyntaxError"),
    ("what it imports", "{t}.target=needy_models.make", r"needy_models imports not_there, which is not installed"),
    ("it raises", "{t}.target=own_models.raising", r"raising\(\) failed \(ZeroDivisionError: by design\)"),
    (
        "wrong arguments",
        "{t}.target=own_models.small {t}.args={{widht:3}}",
        r"small\(widht=3\) failed .*: give other {t}.args \(it takes \(classes",
    ),
    (
        "arguments without names",
        "{t}.target=own_models.small {t}.args=[3]",
        r"{t}.args=\[3\]: give arguments by name",
    ),
    (
        "no module made",
        "{t}.target=own_models.no_module",
        r"it returns a int: give a function or class that returns a torch.nn.Module",
    ),
    ("no parameters", "{t}.target=own_models.without_parameters", r"a module without parameters"),
    ("nothing returned", "{a}nothing", r"its forward returns nothing: give {t}.logits=NAME, or a module whose forward"),
    ("text returned", "{a}text", r"its forward returns a str: give {t}.logits=NAME"),
    ("maps returned", "{a}map", r"its logits are a tensor of 2x10x1x1: give"),
    ("unknown key", "{a}odd_dict", r"its forward returns a dict of features: .*, answer: a tensor of 2x10: give"),
    (
        "wrong key",
        "{a}dict {t}.logits=logit",
        r"returns a dict of .* without the logits that {t}.logits=logit names: give",
    ),
    ("not finite", "{a}infinite", r"its logits on random images are not finite: give other weights"),
    (
        "other classes",
        "{t}.target=own_models.small {t}.args={{classes:7}}",
        r"it has 7 classes and dataset=digits has 10: give {t}.args with the number of classes",
    ),
    (
        "grey images into RGB",
        "{t}.target=own_models.small {t}.args={{channels:3}}",
        r"cannot take images of 1x8x8 .*its first convolution takes 3 channels: give {t}.channels=3",
    ),
    (
        "another resolution",
        "{t}.target=own_models.vit {t}.args={{size:32}}",
        r"cannot take images of 1x8x8 .*: give {t}.size=PIXELS if it needs another resolution",
    ),
    ("a mean over the batch", "{t}.target=own_models.averaging", r"for 2 images it returns logits for 1"),
    (
        "an argument that is not finite",
        "{t}.target=own_models.small {t}.args={{width:nan}}",
        r"{t}.args=.*: give finite numbers",
    ),
    (
        "nothing to hook",
        "{t}.target=own_models.functional",
        r"no modules whose outputs could be hints: give hint_layer=none method=kd",
    ),
    ("NaN in the model", "{t}.target=own_models.with_nan", r"1 of the 10 values in last.bias are not finite"),
    (
        "mean without deviation",
        "{t}.target=own_models.small {t}.mean=[0.5]",
        r"{t}.mean=\[0.5\] and {t}.std=None",
    ),
    (
        "normalisation after whitening",
        "{t}.target=own_models.small {t}.mean=[.5] {t}.std=[.2] dataset/preprocessing=whiten",
        r"{t}.mean: images that dataset/preprocessing=whiten has changed cannot be restored: give",
    ),
    (
        "no weights file",
        "{t}.target=own_models.small {t}.weights=none.pt",
        r"{t}.weights=none.pt: no such file",
    ),
    ("code in weights", "{w}code.pt", r"code.pt: it holds more than tensors, and loading that could run code"),
    ("a whole model", "{w}whole.pt", r"whole.pt: it holds more than tensors"),
    ("garbage", "{w}garbage.pt", r"garbage.pt: .*give .*torch.save\(model.state_dict\(\), FILE\)"),
    ("garbage in safetensors", "{w}garbage.safetensors", r"garbage.safetensors: cannot be read \(.*header"),
    ("no weights in it", "{w}numbers.pt", r"numbers.pt: no weights by name in it \(epoch, lr\)"),
    ("NaN in the file", "{w}nan.pt", r"nan.pt: 1 of the 10 values in last.bias are not finite"),
    ("other shapes", "{w}wide.pt", r"not the weights of this model: first.weight is 16x1x3x3 in the file and 8x1x3x3"),
    (
        "missing weights",
        "{w}part.safetensors",
        r"2 of the model's tensors are not in the file \(last.weight, last.bias",
    ),
    ("more weights", "{w}more.pt", r"1 of its tensors are not in the model \(head.weight\)"),
]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write weight files, and model files that cannot be imported; return their folder."""
    model = own_models.small()
    state = model.state_dict()

    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    (tmp_path / "code.pt").write_bytes(_zipped_pickle({"state_dict": state, "trap": Trap()}))
    torch.save(model, tmp_path / "whole.pt")
    for name in ("garbage.pt", "garbage.safetensors"):
        (tmp_path / name).write_bytes(b"garbage" * 100)
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "numbers.pt")
    torch.save(own_models.with_nan().state_dict(), tmp_path / "nan.pt")
    torch.save(own_models.small(width=16).state_dict(), tmp_path / "wide.pt")
    save_file({name: value for name, value in state.items() if "last" not in name}, tmp_path / "part.safetensors")
    torch.save(state | {"head.weight": torch.zeros(3)}, tmp_path / "more.pt")
    (tmp_path / "broken_models.py").write_text("def make(:\n")
    (tmp_path / "needy_models.py").write_text("import not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def _zipped_pickle(content: object) -> bytes:
    """Save an object as `torch.save` does, with code that runs when it is unpickled."""
    target = io.BytesIO()
    torch.save(content, target, pickle_module=pickle)
    return target.getvalue()


@pytest.mark.parametrize("side", ["teacher", "student"])
@pytest.mark.parametrize(("words", "pattern"), [m[1:] for m in MODELS], ids=[m[0] for m in MODELS])
def test_an_unusable_model_is_refused(command, places, side, words, pattern):
    names = {
        "t": side,
        "a": f"{side}.target=own_models.wrapped_logits +{side}.args.form=",
        "w": f"{side}.target=own_models.small {side}.weights={places}/",
    }
    finished = command(f"{side}=custom", *_words(words, names), "tracker=none")
    assert finished.code == 1, finished.out
    assert re.search(pattern.replace("{t}", side), finished.err), finished.err
    assert len(finished.err.splitlines()) <= 2, finished.err
    assert not (places / "executed").exists()


def _words(template: str, names: dict[str, str]) -> list[str]:
    """Fill the template and split it into overrides, with `args.form` as a dictionary."""
    words = template.format(**names).split()
    return [re.sub(r"^\+(\w+)\.args\.form=(\w+)$", r"\1.args={form:\2}", word) for word in words]


def _rgb(path: Path) -> None:
    Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(path)


def _truncated(root: Path) -> None:
    _rgb(root / "cat" / "whole.jpg")
    content = (root / "cat" / "whole.jpg").read_bytes()
    (root / "cat" / "half.jpg").write_bytes(content[: len(content) // 2])


def _broken(root: Path) -> None:
    for number in range(7):
        (root / "dog" / f"broken{number}.png").write_bytes(b"\x89PNG and then nothing")


def _no_owls(root: Path) -> None:
    for path in (root / "owl").iterdir():
        path.unlink()


def _one_owl(root: Path) -> None:
    _no_owls(root)
    _rgb(root / "owl" / "only.png")


def _one_class(root: Path) -> None:
    for name in ("dog", "owl"):
        for path in (root / name).iterdir():
            path.unlink()
        (root / name).rmdir()


IMAGES = [
    (
        "a truncated image",
        _truncated,
        r"1 of \d+ images cannot be used: cat/half.jpg \(truncated.*\): repair or replace them, or give",
    ),
    ("several broken images", _broken, r"7 of \d+ images cannot be used: dog/broken0.png .*; dog/broken6.png"),
    ("an empty class", _no_owls, r"no image in the class folder owl: add some, or put that folder elsewhere"),
    ("a class of one image", _one_owl, r"class owl has 1 images and needs one each for training, validation and test"),
    ("one class", _one_class, r"has 1 class folders \(cat\): give a folder with one for each class"),
]


@pytest.mark.parametrize(("change", "pattern"), [i[1:] for i in IMAGES], ids=[i[0] for i in IMAGES])
def test_unusable_images_are_refused(command, tmp_path, change, pattern):
    root = write_images(tmp_path / "images")
    change(root)
    finished = command(
        "dataset=folder", f"dataset.path={root}", "student=thin", "student.depth=3", "student.width=4", "tracker=none"
    )
    assert finished.code == 1, finished.out
    assert re.search(pattern, finished.err), finished.err
    assert len(finished.err.splitlines()) == 1, finished.err


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (
            "method=dsn hint_layer=none",
            r"method=dsn trains every hidden layer, and a custom student has no list of them",
        ),
        ("+schedule.student.dropout.hidden=0.5", r"schedule.student.dropout: a custom student trains with its own"),
        (
            "hint_layer=paper",
            r"the paper has no pair for student own_models.small: give hint_layer=middle or named",
        ),
        (
            "student.target=own_models.choosy",
            r"cannot be trained with images .* \(ValueError: labels are needed\): its forward must",
        ),
        (
            "student.target=own_models.frozen",
            r"all its parameters have requires_grad=False: set it to True for those",
        ),
        (
            "student.target=own_models.frozen student.args={up_to_second:true} hint_layer=named "
            "hint_layer.teacher=conv2 hint_layer.student=second",
            r"hint_layer.student=second: nothing up to that layer is trained",
        ),
        (
            "student.target=own_models.chancy method=joint hint_layer=named hint_layer.teacher=conv2 "
            "hint_layer.student=second",
            r"did not call its layer second: which layers it calls depends on the images or on chance: give another",
        ),
        ("+schedule.student.lr_scale.conv1=0.1", r"schedule.student.lr_scale.conv1: no such layer or kind"),
    ],
)
def test_an_unusable_custom_student_is_refused(command, words, pattern):
    words = words.replace("+schedule.student.dropout", "schedule.student.dropout")
    finished = command("student=custom", "student.target=own_models.small", *words.split(), "tracker=none")
    assert finished.code == 1, finished.out
    assert re.search(pattern, finished.err), finished.err


@pytest.mark.parametrize(("side", "other"), [("teacher", "student"), ("student", "teacher")])
def test_an_unknown_layer_is_refused_with_the_closest_name(command, side, other):
    pair = ["hint_layer=named", f"hint_layer.{side}=secnod", f"hint_layer.{other}=conv2"]
    finished = command(f"{side}=custom", f"{side}.target=own_models.small", *pair, "tracker=none")
    assert finished.code == 1
    expected = f"hint_layer.{side}=secnod: no such layer in own_models.small; did you mean second? (fitnets layers, "
    assert finished.err.startswith(expected)


def test_custom_networks_without_a_target_are_refused(command):
    finished = command("teacher=custom", "student=custom")
    assert finished.err.splitlines() == [
        "student.target has no value: give student.target=...",
        "teacher.target has no value: give teacher.target=...",
    ]
