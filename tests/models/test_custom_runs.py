"""Custom networks in whole runs, from the command line."""

import importlib
import json

import own_models
import pytest
import torch
from safetensors.torch import load_file

from fitnets.composition import loading
from fitnets.models import costs, layer_pairs, teachers
from support.custom import NEVER_SEEN, SHORT, WOBBLY, network
from support.runs import TINY, Finished, runs

TINY_TEACHER = [word for word in TINY if word.startswith(("teacher.", "schedule.teacher"))]


def test_a_model_that_the_project_has_never_seen_from_the_command_line(command, fitnets, tmp_path, monkeypatch):
    """The steps of a user: write a file and weights, then list layers, run and export."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wobbly_net.py").write_text(NEVER_SEEN)
    torch.save(importlib.import_module("wobbly_net").make(breadth=24).state_dict(), "weights.pt")
    teacher = [*WOBBLY, "teacher.weights=weights.pt"]

    def output(finished: Finished) -> str:
        assert finished.code == 0, finished.err
        return finished.out

    listed = json.loads(output(fitnets("layers", *teacher, "--json")))
    names = [row["name"] for row in listed["teacher"]]
    assert names == ["Größe", "bend:1", "again:1", "norm_1", "bend:2", "again:2", "bend:3", "exit", "logits"]
    assert [row["shape"] for row in listed["teacher"]][:2] == [[24, 8, 8], [24, 8, 8]]
    assert "bend:2" in output(fitnets("layers", *teacher))
    pair = ["hint_layer=named", "hint_layer.teacher=bend:2", "hint_layer.student=conv5"]
    output(command(*teacher, *pair, *SHORT))
    ((name, result),) = runs(tmp_path / "store").items()
    directory = tmp_path / "store" / "run" / name
    assert result["hint"]["teacher_layer"] == "bend:2"
    exported = json.loads(output(fitnets("export", directory, "--json")))
    assert max(exported["difference"].values()) < 1e-4
    assert exported["accuracy"]["student.onnx"] == pytest.approx(result["student"]["test_accuracy"])
    assert (directory / "export" / "student.pt2").exists()


class TestTransformers:
    """A vision transformer and a residual network of the `transformers` library, built from their configurations."""

    @pytest.fixture
    def taught_by(self, command, fitnets, tmp_path):
        """List the layers of a model, distil it and export both networks; return the shape of the hint."""

        def teach(model: str, hint: str, *, is_exported: bool) -> list[int]:
            teacher = ["teacher=custom", f"teacher.target=own_models.{model}"]
            listed = json.loads(fitnets("layers", *teacher, "--json").out)
            pair = ["hint_layer=named", f"hint_layer.teacher={hint}", "hint_layer.student=conv5"]
            finished = command(*teacher, *pair, *SHORT)
            assert finished.code == 0, finished.err
            ((name, result),) = runs(tmp_path / "store").items()
            assert result["hint"]["teacher_layer"] == hint
            if is_exported:
                exported = fitnets("export", str(tmp_path / "store" / "run" / name), "--json")
                assert exported.code == 0, exported.err
                summary = json.loads(exported.out)
                assert max(summary["difference"].values()) < 1e-4
                assert {"teacher", "student, network only"} <= {row["file"] for row in summary["latency"]}
            return {row["name"]: row["shape"] for row in listed["teacher"]}[hint]

        return teach

    @pytest.mark.parametrize(
        ("model", "hint", "shape", "is_exported"),
        [
            ("vit", "vit.layers.1", [17, 24], True),
            ("vit", "vit.embeddings.patch_embeddings.projection", [24, 4, 4], False),
            ("resnet", "resnet.encoder.stages.0", [8, 2, 2], False),
            pytest.param("resnet", "resnet.encoder.stages.0", [8, 2, 2], True, marks=pytest.mark.soak),
        ],
    )
    def test_as_teachers(self, taught_by, model, hint, shape, is_exported):
        assert taught_by(model, hint, is_exported=is_exported) == shape

    def test_as_teacher_and_student(self, command, tmp_path):
        words = ["teacher.target=own_models.vit", "teacher.args={size: 16}", "teacher.size=16"]
        finished = command("teacher=custom", *words, "student=custom", "student.target=own_models.vit", *SHORT)
        assert finished.code == 0, finished.err
        ((_, result),) = runs(tmp_path / "store").items()
        assert result["hint"]["teacher_layer"].startswith("vit.layers.")
        assert result["hint"]["student_layer"].startswith("vit.layers.")


def test_a_custom_students_run_can_be_evaluated_and_be_a_teacher(command, fitnets, tmp_path):
    student = ["student=custom", "student.target=own_models.small", "student.mean=[0.5]", "student.std=[0.25]"]
    teacher = ["teacher=custom", "teacher.target=own_models.small"]
    finished = command(*teacher, *student, *SHORT, "schedule.retrain_student=true")
    assert finished.code == 0, finished.err
    ((name, result),) = runs(tmp_path / "store").items()
    directory = tmp_path / "store" / "run" / name
    evaluated = json.loads(fitnets("eval", str(directory), f"store={tmp_path / 'store'}", "--json").out)
    assert evaluated["accuracy"] == pytest.approx(result["student"]["test_accuracy"])
    weights = load_file(directory / "student.safetensors")
    assert weights["image_scale"].item() == 4
    again = command("teacher=run", f"teacher.path={directory}", *SHORT)
    assert again.code == 0, again.err


def test_a_trained_student_no_longer_needs_the_file_of_its_initial_weights(command, fitnets, tmp_path):
    torch.save(own_models.small().state_dict(), tmp_path / "init.pt")
    student = ["student=custom", "student.target=own_models.small", f"student.weights={tmp_path / 'init.pt'}"]
    assert command(*TINY_TEACHER, *student, *SHORT).code == 0
    (tmp_path / "init.pt").unlink()
    ((name, result),) = runs(tmp_path / "store").items()
    directory = tmp_path / "store" / "run" / name
    finished = fitnets("eval", str(directory), f"store={tmp_path / 'store'}", "--json")
    assert json.loads(finished.out)["accuracy"] == pytest.approx(result["student"]["test_accuracy"])


def test_an_ensemble_of_custom_networks_is_a_teacher(command, tmp_path):
    words = [*TINY_TEACHER, "student=custom", "student.target=own_models.vit", *SHORT]
    for seed in (0, 1):
        assert command(*words, f"seed={seed}").code == 0
    members = [str(tmp_path / "store" / "run" / name) for name in runs(tmp_path / "store")]
    ensemble = ["teacher=ensemble", f"teacher.members=[{','.join(members)}]", f"teacher.hint_member={members[1]}"]
    pair = ["hint_layer=named", "hint_layer.teacher=vit.layers.1", "hint_layer.student=conv5"]
    finished = command(*ensemble, *pair, *SHORT)
    assert finished.code == 0, finished.err
    config = loading.load([*ensemble, *pair])
    teacher = teachers.build_teacher(config)
    assert costs.cost(teacher, (1, 8, 8)).multiplications == 2 * network("vit").multiplications
    assert len(layer_pairs.layer_rows(teacher, (1, 8, 8))) == len(network("vit").hint_layer_names) + 1
