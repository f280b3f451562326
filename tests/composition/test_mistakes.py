"""Messages for a user's mistakes: one to three lines that name the key, the value, what is allowed; exit code 1; no
traceback."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from support.datasets import write_parquet
from support.places import ROOT
from support.processes import shell
from support.runs import TINY

# (id, command line, pattern in the message). {mine}: a --config-dir with broken files; {made}: a run on Parquet of
# 4x5 images of 3 classes; {empty}, {corrupt}: folders.
MISTAKES = [
    ("key", "studnt=fitnet_digits", r"'studnt'.*Did you mean: 'student'"),
    ("key in a group", "student=thin student.wdith=3", r"'wdith' not in 'Thin'. Did you mean one of: 'width'"),
    ("option", "student=fitnet_digts", r"student=fitnet_digts: no such option; did you mean fitnet_digits\?.*thin"),
    (
        "option of another group",
        "schedule=adamw",
        r"schedule=adamw: no such option \(options of schedule: fast, fast_long, modern",
    ),
    ("text for a number", "student=thin student.width=abc", r"student.width=abc: Value 'abc'.*Integer"),
    ("fraction for a whole number", "student=thin student.width=3.7", r"student.width.*'3.7'.*Integer"),
    ("value of a choice", "engine.device=gpu", r"engine.device=gpu: .*\['auto', 'cpu', 'cuda'\]"),
    ("mode of W&B", "tracker=wandb tracker.mode=ofline", r"tracker.mode=ofline: .*'online', 'offline', 'disabled'"),
    ("added key", "+student.nonsense=1", r"student.nonsense: no such key.*\(keys of student: name, convs"),
    ("forced key", "++student.guidde=conv1", r"student.guidde: no such key; did you mean guided\?"),
    ("added key at the top", "+sede=1", r"sede: no such key; did you mean seed\?"),
    ("no equals sign", "student.depth", r"student.depth: no value: give student.depth=..."),
    ("list without -m", "seed=0,1", r"seed=0,1: several values: add -m to sweep"),
    ("missing values", "hint_layer=named", r"hint_layer.student has no value: give hint_layer.student=..."),
    (
        "layer name",
        "hint_layer=named hint_layer.teacher=cnov2 hint_layer.student=conv1",
        r"hint_layer.teacher=cnov2: no such layer in maxout_digits; did you mean conv2\? \(layers: conv1, conv2",
    ),
    (
        "hint from the logits",
        "hint_layer=named hint_layer.teacher=softmax hint_layer.student=conv1",
        r"hint_layer.teacher=softmax: no such layer",
    ),
    ("hints without a layer", "hint_layer=none", r"method=hints needs a hint layer.*hint_layer=middle, or method=kd"),
    ("pair the paper lacks", "student=thin hint_layer=paper", r"no pair for student thin: give hint_layer=middle"),
    ("depth", "student=thin student.depth=0", r"student.depth=0 is out of range: at least 1"),
    ("epochs", "schedule.student.epochs=0", r"schedule.student.epochs=0 is out of range: at least 1"),
    ("learning rate", "schedule.hint.optimizer.lr=-1", r"schedule.hint.optimizer.lr=-1.0 is out of range"),
    (
        "infinity",
        "schedule.hint.optimizer.lr=inf",
        r"schedule.hint.optimizer.lr=inf is out of range: more than 0, finite",
    ),
    ("bound of a norm", "+schedule.hint.max_norm.conv=-1", r"schedule.hint.max_norm.conv=-1.0 is out of range"),
    (
        "bound of a gradient",
        "schedule.student.max_grad_norm=-1",
        r"schedule.student.max_grad_norm=-1.0 is out of range: more than 0, finite",
    ),
    ("no test images", "dataset.test_images=0", r"dataset.test_images=0 is out of range: at least 1"),
    ("dropout", "schedule.teacher.dropout.hidden=1", r"schedule.teacher.dropout.hidden=1.0 .* from 0 to 0.99"),
    (
        "two rules at once",
        "schedule.kd.temperature=0 schedule.teacher.epochs=0",
        r"schedule.teacher.epochs=0 .*\nschedule.kd.temperature=0.0 ",
    ),
    ("layer of a table", "+schedule.hint.max_norm.conv99=1", r"schedule.hint.max_norm.conv99: no such layer or kind"),
    ("batch", "schedule.hint.batch_size=5000", r"schedule.hint.batch_size=5000 is more than the 1137 training images"),
    (
        "validation",
        "dataset.validation_images=1437",
        r"validation_images=1437 leaves no image to train on: digits has 1437",
    ),
    ("test images", "dataset.test_images=1797", r"dataset.test_images=1797: digits has 1797 images in all"),
    (
        "identity of two shapes",
        "regressor=identity",
        r"gives 16x4x4, the hint layer 64x4x4: give regressor=auto",
    ),
    (
        "stride that leaves no kernel",
        "regressor=conv regressor.stride=2",
        r"gives 16x4x4, the hint layer 64x4x4, the kernel would be -2x-2: give a larger pad or a smaller stride",
    ),
    (
        "pad that leaves no kernel",
        "regressor=conv regressor.pad=0 hint_layer=named hint_layer.teacher=conv1 hint_layer.student=conv4",
        r"gives 16x4x4, the hint layer 32x8x8, the kernel would be -3x-3",
    ),
    (
        "convolution from no map",
        "regressor=conv hint_layer=named hint_layer.teacher=dense1 hint_layer.student=conv4 "
        "teacher.dense=[{{units:9,pieces:2}}]",
        r"the hint layer 9, and a convolution needs two maps: give regressor=pointwise or fc",
    ),
    ("labels without a layer", "method=labels_then_kd hint_layer=none", r"method=labels_then_kd needs a hint layer"),
    ("pair of a residual net", "student=resnet hint_layer=paper", r"the paper has no pair for student resnet"),
    ("pair of a residual teacher", "teacher=resnet hint_layer=paper", r"the paper has no pair for teacher resnet"),
    ("depth of a residual net", "student=resnet student.depth=21", r"resnet has depth 6 n \+ 2: give 8, 14, ..."),
    (
        "depth of a wide net",
        "student=wrn student.depth=20",
        r"student.depth=20: wrn has depth 6 n \+ 4: give 10, 16, ...",
    ),
    ("layers of the depth experiment", "student=table6 student.layers=6", r"student.layers=6: .*\[5, 7, 9, 11\]"),
    ("preprocessing", "dataset/preprocessing=zca", r"dataset/preprocessing=zca: no such option .*whiten"),
    (
        "even window",
        "dataset/preprocessing=local_contrast dataset.preprocessing.window=6",
        r"dataset.preprocessing.window=6 is even",
    ),
    ("no validation images", "dataset.validation_images=0", r"dataset.validation_images=0 is out of range: at least 1"),
    ("max_steps", "schedule.hint.max_steps=0", r"schedule.hint.max_steps=0 is out of range: at least 1"),
    ("data set of nowhere", "dataset=aflw", r"dataset=aflw is not on the Hugging Face hub: give dataset.path=DIR"),
    (
        "classes of a folder",
        "dataset=folder dataset.path=x",
        r"dataset.path=x: no such folder: give one with a sub-folder for each class",
    ),
    (
        "two validation rules",
        "dataset=mnist dataset.validation_split=validation",
        r"validation_split=validation and dataset.validation_images=10000: give dataset.validation_images=0",
    ),
    (
        "extra validation of nothing",
        "dataset=svhn dataset.extra_split=null",
        r"dataset.extra_validation=2000 without dataset.extra_split: give 0",
    ),
    (
        "validation on the test split",
        "dataset=mnist dataset.validation_images=0 dataset.validation_split=test",
        r"train, extra, validation and test split are train, test, test: give different splits",
    ),
    (
        "training images twice",
        "dataset=svhn dataset.extra_split=train",
        r"train, extra, validation and test split are train, train, test",
    ),
    (
        "whitening without a regularizer",
        "dataset/preprocessing=whiten dataset.preprocessing.regularizer=0",
        r"dataset.preprocessing.regularizer=0.0 is out of range: more than 0",
    ),
    (
        "whitening large images",
        "dataset=cifar10 dataset.height=224 dataset.width=224",
        r"whiten needs the covariance of all 150528 values of an image, and at most 12288 are allowed",
    ),
    ("channels", "dataset=cifar10 dataset.channels=4", r"dataset.channels=4: .*\[1, 3\]"),
    ("lambda backwards", "schedule.kd.start_epoch=9 schedule.kd.end_epoch=5", r"start_epoch=9 is after .*end_epoch=5"),
    (
        "shortcut that narrows",
        "student=resnet student.stem=32 student.shortcut=pad",
        r"student.stem=32: shortcut=pad cannot narrow to 16 channels: give shortcut=conv",
    ),
    (
        "norms of layers that a net lacks",
        "dataset=mnist dataset.path={empty} schedule=paper student=resnet",
        r"schedule.hint.max_norm.conv2: no such layer .*; ~schedule.hint.max_norm.conv2 leaves it out",
    ),
    (
        "teacher of no run",
        "teacher=run teacher.path={empty}",
        r"teacher.path=.*: no trained network there: give the run/",
    ),
    ("path of the teacher", "teacher=run", r"teacher.path has no value: give teacher.path=..."),
    (
        "sigmoid for ten classes",
        "teacher=relu_aflw",
        r"teacher=relu_aflw ends in one sigmoid unit, for two classes: digits has 10",
    ),
    (
        "networks for images too small",
        "teacher=maxout_cifar10",
        r"teacher=maxout_cifar10, conv2: 4x4 pooling does not fit",
    ),
    (
        "teacher for other images",
        "teacher=maxout_mnist",
        r"teacher=maxout_mnist, conv1: 4x4 pooling does not fit its 1x1 map\ngive a network made for digits \(8x8\)",
    ),
    (
        "student for other images",
        "student=fitnet_mnist",
        r"student=fitnet_mnist, conv2: 4x4 pooling does not fit its 2x2 map\ngive a network made for digits \(8x8\)",
    ),
    ("kernel", "teacher.convs.2.kernel=9", r"conv3: a 9x9 kernel with pad 1 does not fit its 4x4 input"),
    ("stride", "student.convs.2.stride=5", r"conv3: stride 5 of the pooling skips values between its 2x2 windows"),
    ("no convolutions", "student.convs=[]", r"student.guided=conv5: no such layer in fitnet_digits \(layers: none\)"),
    ("guided layer", "student.guided=conv10", r"student.guided=conv10: no such layer .* did you mean conv1\?"),
    ("shape of the digits", "dataset.height=10", r"Key 'height' not in 'Digits'"),
    ("null for an option", "student=null", r"a group has no value or null: give GROUP=OPTION"),
    ("sweep without -m", "+sweeps=controls", r"\+sweeps=... is a sweep: add -m"),
    ("entry of a table", "schedule.hint.lr_scale.conv=0.05", r"not in the table yet: add it with \+schedule.hint.lr"),
    ("-m and --cfg", "-m --cfg job", r"Only one of --run, --multirun, --cfg"),
    ("missing folder", "dataset=mnist dataset.path=/no/such", r"dataset.path=/no/such: no such folder: give"),
    (
        "empty folder",
        "dataset=mnist dataset.path={empty}",
        r"one folder with train-\*.parquet and it holds nothing",
    ),
    ("broken Parquet", "dataset=mnist dataset.path={corrupt}", r"dataset.path=.*: cannot read train-0.parquet"),
    (
        "class count",
        "{made} dataset.classes=2",
        r"classes=2 allows labels 0 to 1, .* 0 to 2: give dataset.classes=3",
    ),
    ("image size", "{made} dataset.width=6", r"image 0 of the train split is 4x5 and the configuration says 4x6"),
    ("column", "{made} dataset.image_column=imag", r"dataset.image_column=imag: no such column .*did you mean image\?"),
    ("images of numbers", "{made} dataset.image_column=label", r"image_column=label: the column holds int64, and enc"),
    ("labels of images", "{made} dataset.label_column=image", r"label_column=image: the column holds struct, and who"),
    ("no test split", "{made} dataset.test_split=tset", r"one folder with tset-\*.parquet and it holds test-0000"),
    ("typo in an option file", "--config-dir {mine} student=typo", r"'wdith' not in 'Thin'.*'width'"),
    (
        "option file without its type",
        "--config-dir {mine} student=untyped",
        r"student/untyped: the file must say which of FitNet, .*Thin.* it is: defaults: \[/hydra",
    ),
    (
        "schedule for a data set of one's own",
        "--config-dir {mine} dataset=bare",
        r"schedule=quick has no hyperparameters for dataset=bare: give schedule=modern, or a file",
    ),
    (
        "option file without preprocessing",
        "--config-dir {mine} dataset=bare schedule=modern",
        r"dataset.preprocessing has no value: give dataset/preprocessing=...",
    ),
    ("YAML that is none", "--config-dir {mine} student=broken", r"broken.yaml.*line 2"),
    ("config directory", "--config-dir /no/such", r"/no/such.*not found"),
]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    mine, empty, corrupt, data = (tmp_path / name for name in ("mine", "empty", "corrupt", "data"))
    (mine / "student").mkdir(parents=True)
    (mine / "student" / "typo.yaml").write_text("defaults: [/hydra/fitnets/Thin@_here_, _self_]\ndepth: 3\nwdith: 4\n")
    (mine / "student" / "untyped.yaml").write_text("depth: 3\nwidth: 4\n")
    (mine / "dataset").mkdir()
    (mine / "dataset" / "bare.yaml").write_text("defaults: [/hydra/fitnets/Digits@_here_, _self_]\ntest_images: 9\n")
    (mine / "student" / "broken.yaml").write_text("depth: 3\nwidth: [4\n")
    empty.mkdir()
    corrupt.mkdir()
    for split in ("train", "test"):
        (corrupt / f"{split}-0.parquet").write_bytes(b"PAR1 and then nothing")
    for split in ("train", "test"):
        write_parquet(data, split, np.zeros((30, 4, 5), dtype=np.uint8), [0, 1, 2] * 10)
    layout = "dataset.height=4 dataset.width=5 dataset.classes=3 dataset.validation_images=6 teacher.convs=[] "
    made = f"dataset=mnist dataset.path={data} {layout} student=thin student.depth=1 method=kd"
    return {"mine": str(mine), "empty": str(empty), "corrupt": str(corrupt), "made": made}


@pytest.mark.parametrize(("words", "pattern"), [mistake[1:] for mistake in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_mistake(command, places, words, pattern):
    finished = command("tracker=none", *_words(words, places))
    assert finished.code == 1
    assert re.search(pattern, finished.err), finished.err
    assert 1 <= len(finished.err.strip().splitlines()) <= 3, finished.err
    assert "Traceback" not in finished.err + finished.out


def _words(template: str, places: dict[str, str]) -> list[str]:
    return template.format(**places).split()


@pytest.mark.parametrize(
    ("words", "hub", "files"),
    [
        ("dataset=mnist", "ylecun/mnist", "train-*.parquet and test-*.parquet"),
        ("student=fitnet3 dataset=svhn", "ufldl-stanford/svhn", "train-*.parquet, extra-*.parquet and test-*.parquet"),
    ],
)
def test_no_network(tmp_path, words, hub, files):
    told = shell(str(ROOT / "run.py"), *words.split(), cwd=tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert (told.returncode, told.stderr.count("\n")) == (1, 2)
    assert f"cannot get {hub} from the Hugging Face hub" in told.stderr
    assert f"give dataset.path=DIR, a folder with {files} of that repository" in told.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_device(command):
    finished = command("engine.device=cuda")
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "engine.device=cuda: PyTorch finds no CUDA device here: give engine.device=cpu or auto" in finished.err


def test_a_store_that_cannot_be_written(command):
    finished = command(store=Path("/proc/nowhere"))
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "store=/proc/nowhere: cannot write there (No such file or directory): give store=DIR" in finished.err


def test_wandb_online_without_a_key(tmp_path):
    words = (*TINY[1:], "tracker=wandb", "tracker.mode=online", "store=results")
    told = shell(str(ROOT / "run.py"), *words, cwd=tmp_path, HOME=str(tmp_path), WANDB_API_KEY="", NETRC="/none")
    assert told.returncode == 1
    assert told.stderr.count("\n") <= 3, told.stderr
    assert "tracker.mode=online: W&B cannot start" in told.stderr
    assert "run `wandb login`, or give tracker.mode=offline" in told.stderr


def test_a_failed_job_of_a_sweep_is_named_and_the_others_run(command):
    finished = command("-m", *TINY, "schedule.student.batch_size=9999,64")
    assert finished.code == 1
    assert "job 0 failed: schedule.student.batch_size=9999 is more" in finished.err
    assert "Traceback" not in finished.err
    assert "done in" in finished.out


def test_full_errors_on_request(command, monkeypatch):
    """HYDRA_FULL_ERROR=1 lets the exception through."""
    import run
    from fitnets.composition import entry_point
    from fitnets.errors import ConfigError

    monkeypatch.setattr("sys.argv", ["run.py", "hint_layer=none"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(entry_point._Mistake) as raised:
        entry_point.command_line(run.main)
    assert isinstance(raised.value.__cause__, ConfigError)
