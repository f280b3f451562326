"""Tests of `fitnets export`: its files take raw images and agree with PyTorch; export.json and a card describe them."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from fitnets.composition import loading
from fitnets.config import Config, Dataset, image_shape
from fitnets.data import preprocessing, sources
from fitnets.errors import ConfigError
from fitnets.exporting import card, runtimes
from fitnets.exporting.graphs import program, write_onnx
from fitnets.exporting.student import TOLERANCE
from fitnets.models import build
from fitnets.models.raw_images import NetworkOnly, WithPreprocessing
from fitnets.store import layout
from support import datasets
from support.datasets import first_rows, in_silence, write_images
from support.places import SHARED_CIFAR10, SHARED_MNIST
from support.runs import TINY

IN_THE_SUITE = [  # each kind of layer and each preprocessing once
    "dataset=digits",
    "dataset=digits dataset/preprocessing=whiten",
    "dataset=mnist",
    "dataset=cifar10 dataset/preprocessing=standardize student=fitnet1",
    "dataset=svhn student=fitnet3",
    "dataset=aflw dataset.path=none student=fitnet_aflw1",
]
TABLE_6 = [f"student=table6 student.layers={n} student.budget={b}" for n in (5, 7, 9, 11) for b in (30, 107)]
OTHERS = [
    *(f"dataset=cifar10 student={name}" for name in ("fitnet1", "fitnet2", "fitnet3", "fitnet3_table5", "fitnet4")),
    *(f"dataset=cifar10 {words}" for words in TABLE_6),
    "dataset=cifar100 student=fitnet4",
    "dataset=aflw dataset.path=none student=fitnet_aflw2",
]
PLACES = {"mnist": SHARED_MNIST, "cifar10": SHARED_CIFAR10}


@pytest.fixture(scope="module")
def raw_images(tmp_path_factory):
    """Return images of a configuration's data set, real or random: (100 or more, C, H, W) uint8."""
    images_of: dict[str, torch.Tensor] = {}

    def images(config: Config) -> torch.Tensor:
        name = config.dataset.name
        if name not in images_of:
            is_real = name in ("digits", *PLACES)
            folder = tmp_path_factory.mktemp(name)
            images_of[name] = _real(config.dataset, folder) if is_real else _random(config.dataset)
        return images_of[name]

    return images


def _real(dataset: Dataset, folder: Path) -> torch.Tensor:
    if dataset.name in PLACES:
        if not PLACES[dataset.name].exists():
            pytest.skip(f"real images are needed, and {PLACES[dataset.name]} is missing")
        first_rows(PLACES[dataset.name], folder, 300)
        dataset.path = str(folder)
    images, _ = sources.source(dataset, "test").decode(in_silence)
    return torch.from_numpy(images)


def _random(dataset: Dataset) -> torch.Tensor:
    size = (100, *image_shape(dataset))
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def fitted(raw_images):
    """Return what the preprocessing of a configuration learns from its raw images."""
    fitted_by: dict[tuple[str, int], preprocessing.FittedPreprocessing] = {}

    def fit(config: Config) -> preprocessing.FittedPreprocessing:
        dataset = config.dataset
        key = dataset.preprocessing.name, dataset.height  # whitening is slow: CIFAR-10 and CIFAR-100 share it
        if key not in fitted_by:
            fitted_by[key] = datasets.fitted(dataset.preprocessing, raw_images(config), dataset.pixel_max)
        return fitted_by[key]

    return fit


@pytest.mark.parametrize("words", [*IN_THE_SUITE, *(pytest.param(words, marks=pytest.mark.soak) for words in OTHERS)])
def test_every_student_of_the_paper_agrees_with_pytorch_on_raw_images(words, raw_images, fitted, tmp_path):
    config = loading.load(words.split())
    student = build.network(config.student, config.dataset, "student")
    build.initialise(student, loading.load(["schedule=modern"]).schedule.student_init, 0)
    images = raw_images(config)[:101]
    traced = program(WithPreprocessing(student, config.dataset, fitted(config)))
    write_onnx(traced, tmp_path / "student.onnx", {})
    with torch.no_grad():
        scaled = images.float() / config.dataset.pixel_max
        expected = student(preprocessing.apply(config.dataset.preprocessing, fitted(config), scaled))[0]
        by_program = traced.module()(images)
    logits = runtimes.in_batches(runtimes.onnx_runner(tmp_path / "student.onnx"), images)
    assert images.dtype == torch.uint8
    assert float(expected.std()) > 0.01  # the logits are not constant
    assert runtimes.difference(logits, expected) < TOLERANCE
    assert runtimes.difference(by_program, expected) < TOLERANCE


@pytest.fixture(scope="module")
def exported(earlier_run, tmp_path_factory) -> Path:
    """Return the folder that `fitnets export --int8` filled after an earlier export into it was killed."""
    import sys

    from fitnets import cli

    out = tmp_path_factory.mktemp("export") / "files.1"
    layout.temporary_path(out).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        words = ["export", str(earlier_run), "--out", str(out), "--int8", "engine.threads=2"]
        patch.setattr(sys, "argv", ["fitnets", *words])
        assert cli.main() == 0
    return out


def test_the_onnx_file_takes_digits_as_scikit_learn_has_them(exported, earlier_run):
    """The pixels are uint8 from 0 to 16; the accuracy is the run's accuracy on test."""
    session = onnxruntime.InferenceSession(exported / "student.onnx")
    (graph_input,) = session.get_inputs()
    assert (graph_input.name, graph_input.type, graph_input.shape) == ("images", "tensor(uint8)", ["batch", 1, 8, 8])
    dataset = loading.load([]).dataset
    images, labels = sources.source(dataset, "test").decode(in_silence)
    assert {tuple(image.flatten()) for image in images} <= {tuple(image) for image in load_digits().data}
    (logits,) = session.run(["logits"], {"images": images})
    result = json.loads((earlier_run / "result.json").read_text())
    assert np.mean(logits.argmax(1) == labels) == pytest.approx(result["student"]["test_accuracy"])


def test_no_files_of_a_killed_export_are_left(exported):
    assert list(exported.parent.iterdir()) == [exported]


def test_the_program_runs_by_itself(exported):
    images = torch.randint(0, 17, (3, 1, 8, 8), dtype=torch.uint8)
    program = runtimes.program_runner(exported / "student.pt2")(images)
    torch.testing.assert_close(program, runtimes.onnx_runner(exported / "student.onnx")(images), rtol=1e-4, atol=1e-4)


def test_export_json_has_files_differences_accuracies_and_latencies(exported):
    facts = json.loads((exported / "export.json").read_text())
    assert set(facts["files"]) == {"student.onnx", "student.pt2", "student-int8.onnx"}
    assert {path.name for path in exported.iterdir()} == {*facts["files"], "export.json", "card.md"}
    assert max(facts["difference"].values()) < TOLERANCE
    assert facts["images"] == {"split": "test", "checked": 360, "of": 360}
    assert facts["classes"] == list("0123456789")
    assert abs(facts["int8"]["accuracy"] - facts["int8"]["float_accuracy"]) < 0.05
    files = {row["file"] for row in facts["latency"]}
    assert files == {
        *(f"{side}{part}" for side in ("student", "teacher") for part in ("", ", network only")),
        "student, int8",
    }
    assert {(row["batch"], row["threads"]) for row in facts["latency"]} == {(1, 1), (1, 2), (128, 1), (128, 2)}
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in facts["latency"])


def test_the_card_names_data_teacher_limits_and_speed(exported):
    text = (exported / "card.md").read_text()
    for word in (
        "**Data**: digits",
        "**Teacher**: maxout_digits",
        "Speed-up over the exported teacher",
        "Limits:",
        "fitnets export",
        "student-int8.onnx",
        "test accuracy",
        "points lost",
        "uint8 (N, 1, 8, 8)",
    ):
        assert word in text
    facts = json.loads((exported / "export.json").read_text())
    assert len(card.speedups(facts).rows) == 4


def test_the_onnx_metadata_names_the_classes(exported):
    metadata = {prop.key: prop.value for prop in onnx.load(exported / "student.onnx").metadata_props}
    assert metadata["classes"].split("\n") == list("0123456789")
    assert "0 to 16" in metadata["images"]


def test_quantisation_leaves_the_preprocessing_as_it_is(tmp_path, raw_images, fitted):
    from fitnets.exporting.quantised import quantise

    config = loading.load(["dataset=svhn", "student=thin", "student.depth=3", "student.width=4"])
    student = build.network(config.student, config.dataset, "student")
    write_onnx(program(WithPreprocessing(student, config.dataset, {})), tmp_path / "a.onnx", {})
    quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", raw_images(config))
    graph = onnx.load(tmp_path / "b.onnx").graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    kinds = [makers.get(node.input[1], "constant") for node in graph.node if node.op_type == "Conv"]
    assert kinds.count("constant") == 2  # two windows of local contrast normalisation
    assert kinds.count("DequantizeLinear") == 3


def test_the_network_without_preprocessing_takes_preprocessed_images(tmp_path):
    config = loading.load([])
    student = build.network(config.student, config.dataset, "student").eval()
    write_onnx(program(NetworkOnly(student, (1, 8, 8))), tmp_path / "network.onnx", {})
    images = torch.rand(5, 1, 8, 8)
    logits = runtimes.onnx_runner(tmp_path / "network.onnx")(images)
    assert runtimes.difference(logits, student(images)[0].detach()) < TOLERANCE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/such/run"], r"RUN=no/such/run: no trained network there"),
        (["{run}", "dataset=mnist"], r"dataset=mnist: fitnets export takes engine.threads and store"),
        (["{run}", "--out", "/proc/none/files"], r"--out /proc/none: cannot write there"),
        (["{teacher}"], r"this is a teacher's folder: give the folder of a run"),
        (["{run}", "--out", "{run}"], r"it exists and is no earlier export: give a new folder"),
    ],
)
def test_mistakes_are_refused(fitnets, earlier_run, words, message):
    import re

    (teacher,) = (earlier_run.parent.parent / "teacher").iterdir()
    finished = fitnets("export", *(word.format(run=earlier_run, teacher=teacher) for word in words))
    assert finished.code == 1
    assert re.search(message, finished.err), finished.err


def test_a_file_that_disagrees_is_not_kept(fitnets, earlier_run, tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "difference", lambda *_: 0.1)
    finished = fitnets("export", str(earlier_run), "--out", str(tmp_path / "files"))
    assert finished.code == 1
    assert "student.onnx differs from PyTorch by 0.1 of the largest logit, and 0.0001 is allowed" in finished.err
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_a_student_that_cannot_be_traced_fails_and_a_teacher_is_left_out(command, fitnets, tmp_path, side):
    short = [word for word in TINY if not word.startswith(f"{side}.") and word != f"{side}=thin"]
    custom = [f"{side}=custom", f"{side}.target=own_models.branching"]
    assert command(*custom, "method=kd", "hint_layer=none", *short).code == 0
    (run,) = (tmp_path / "store" / "run").glob("[0-9a-f]*")
    finished = fitnets("export", str(run), "--json")
    if side == "student":
        assert finished.code == 1
        assert finished.err.splitlines()[-1].startswith("the student cannot be exported (")
        assert not (run / "export").exists()
    else:
        assert json.loads(finished.out)["no_teacher"].startswith("the teacher cannot be exported (")
        assert (run / "export" / "student.onnx").exists()


def test_changed_images_are_replaced_by_random_ones_or_refused(command, fitnets, tmp_path):
    root = write_images(tmp_path / "images")
    words = ["dataset=folder", f"dataset.path={root}", "student=thin", "student.depth=3", "student.width=4"]
    steps = [f"schedule.{stage}.max_steps=1" for stage in ("teacher", "hint", "student")]
    finished = command(*words, *steps, "dataset.height=16", "dataset.width=16", "tracker=none")
    assert finished.code == 0, finished.err
    (run,) = (tmp_path / "store" / "run").glob("[0-9a-f]*")
    train = json.loads((root / "split.json").read_text())["train"]
    Image.new("RGB", (20, 20)).save(root / train[0])
    exported = fitnets("export", str(run), "--json")  # the run recorded its fitted preprocessing
    assert exported.code == 0, exported.err
    facts = json.loads(exported.out)
    assert facts["images"]["missing"] == "dataset=folder has other images now than those that the run was trained on"
    assert set(facts["accuracy"].values()) <= {None}  # the changed images may have been trained on
    result = json.loads((run / "result.json").read_text())
    del result["fitted"]  # like a run of an earlier version
    (run / "result.json").write_text(json.dumps(result))
    refused = fitnets("export", str(run))
    assert refused.code == 1
    assert "preprocessing was fitted on other images than those that dataset=folder has now" in refused.err


def test_export_takes_a_relative_run_folder(fitnets, earlier_run, tmp_path, monkeypatch):
    monkeypatch.chdir(earlier_run.parent)
    finished = fitnets("export", earlier_run.name, "--out", str(tmp_path / "files"))
    assert finished.code == 0, finished.err
    assert not (earlier_run.parent / "data").exists()


def test_export_without_the_teacher_names_the_reason(fitnets, earlier_run, tmp_path, monkeypatch):
    from fitnets.exporting import student

    def gone(*_):
        raise ConfigError("teacher.path=/gone: no trained network there")

    monkeypatch.setattr(student, "new_teacher", gone)
    finished = fitnets("export", str(earlier_run), "--out", str(tmp_path / "files"), "--json")
    assert finished.code == 0, finished.err
    assert {row["file"] for row in json.loads(finished.out)["latency"]} == {"student", "student, network only"}
    assert (
        "The teacher could not be exported for comparison: teacher.path=/gone"
        in (tmp_path / "files/card.md").read_text()
    )
