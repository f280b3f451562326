"""Teachers from earlier runs: a single network, or an ensemble of several."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from fitnets.composition import loading
from fitnets.errors import ConfigError
from fitnets.experiment import pipeline
from fitnets.models import build, teachers
from fitnets.models import network as models_network
from fitnets.planning import identity
from fitnets.store import earlier_runs
from fitnets.terms.losses.kd import softened_loss
from support.runs import TINY, runs

AS_TEACHER = [word for word in TINY if not word.startswith("teacher.")]
IMAGES = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def earlier_teacher(earlier_run):
    (directory,) = (earlier_run.parent.parent / "teacher").iterdir()
    return directory


@pytest.fixture(scope="session")
def other_run(tmp_path_factory):
    """Train a second student in a store of its own; return its run folder."""
    store = tmp_path_factory.mktemp("other")
    result = pipeline.run(loading.load([*TINY, "seed=1", "student.depth=4", f"store={store}"]))
    return store / "run" / result["hashes"]["run"]


def outputs(config, images=IMAGES):
    network = models_network.freeze(teachers.build_teacher(config))
    return network(images)


def student_of(directory):
    """Rebuild a run's student from its files."""
    stored = earlier_runs.find_network(str(directory), "here")
    network = build.network(stored.config.student, stored.config.dataset, "student")
    network.load_state_dict(load_file(directory / "student.safetensors"))
    return models_network.freeze(network)


def test_a_run_gives_its_student(earlier_run):
    config = loading.load(["teacher=run", f"teacher.path={earlier_run}"])
    assert torch.equal(outputs(config)[0], student_of(earlier_run)(IMAGES)[0])
    assert config.hint_layer.name == "middle"


def test_a_teacher_artifact_gives_its_teacher(earlier_teacher):
    config = loading.load(["teacher=run", f"teacher.path={earlier_teacher}"])
    stored = load_file(earlier_teacher / "teacher.safetensors")
    assert torch.equal(
        teachers.build_teacher(config).state_dict()["layers.conv1.conv.weight"], stored["layers.conv1.conv.weight"]
    )


def ensemble(*directories, hint=None, words=()):
    members = f"teacher.members=[{','.join(map(str, directories))}]"
    return loading.load(["teacher=ensemble", members, f"teacher.hint_member={hint or directories[0]}", *words])


@pytest.mark.parametrize("temperature", [1, 3])
def test_an_ensembles_softened_outputs_are_the_mean_of_its_members(earlier_run, other_run, temperature):
    config = ensemble(earlier_run, other_run, words=[f"schedule.kd.temperature={temperature}"])
    logits, _ = outputs(config)
    members = [student_of(run)(IMAGES)[0] for run in (earlier_run, other_run)]
    mean = sum((member / temperature).softmax(1) for member in members) / 2
    torch.testing.assert_close((logits / temperature).softmax(1), mean)
    student = torch.randn(20, 10)
    direct = -(mean * (student / temperature).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(softened_loss(student, logits, temperature), direct)


def test_mimic_regresses_the_mean_of_the_members_logits(earlier_run, other_run):
    config = ensemble(earlier_run, other_run, words=["method=mimic"])
    members = [student_of(run)(IMAGES)[0] for run in (earlier_run, other_run)]
    torch.testing.assert_close(outputs(config)[0], sum(members) / 2)


def test_an_ensembles_hints_are_those_of_the_named_member(earlier_run, other_run):
    for run in (earlier_run, other_run):
        config = ensemble(earlier_run, other_run, hint=run)
        network = models_network.freeze(teachers.build_teacher(config))
        expected = student_of(run)(IMAGES, network.hint_layer_names)[1]
        assert list(network(IMAGES, network.hint_layer_names)[1]) == list(expected) == network.hint_layer_names
        assert torch.equal(network.forward_until(IMAGES, "conv2"), expected["conv2"])
        assert torch.equal(network(IMAGES, ["conv2"])[1]["conv2"], expected["conv2"])


@pytest.mark.parametrize("kind", ["run", "ensemble"])
def test_a_run_trains_with_an_earlier_teacher_and_leaves_its_files_alone(
    command, tmp_path, earlier_run, other_run, kind
):
    members = f"teacher.members=[{earlier_run},{other_run}]"
    words = ["teacher=run", f"teacher.path={earlier_run}"] if kind == "run" else [
        "teacher=ensemble", members, f"teacher.hint_member={other_run}",
    ]  # fmt: skip
    before = [(run / "student.safetensors").read_bytes() for run in (earlier_run, other_run)]
    finished = command(*AS_TEACHER, *words)
    assert finished.code == 0, finished.err
    assert "of earlier runs" in finished.out
    ((_, result),) = runs(tmp_path / "store").items()
    assert list(result["stages"]) == ["hint", "student"]
    assert result["seeds"]["teacher"] is None
    assert not (tmp_path / "store" / "teacher").exists()
    sizes = [len(weights) for weights in before]
    assert result["teacher"]["weights_bytes"] == (sizes[0] if kind == "run" else sum(sizes))
    assert [(run / "student.safetensors").read_bytes() for run in (earlier_run, other_run)] == before
    assert "another split" not in finished.out
    if kind == "run":
        earlier = json.loads((earlier_run / "result.json").read_text())
        assert result["teacher"]["valid_error"] == earlier["student"]["valid_error"]


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["dataset.seed=1"], "was trained on another split: it may have seen images that are for validation or test"),
        (["dataset.test_images=300"], "was trained on another split"),
        (["method=kd"], None),
    ],
)
def test_a_note_says_if_the_teacher_was_trained_on_another_split(command, earlier_run, words, note):
    finished = command(*AS_TEACHER, "teacher=run", f"teacher.path={earlier_run}", *words)
    assert finished.code == 0, finished.err
    assert (note in finished.out) if note else ("  note" not in finished.out)


def test_a_note_says_if_the_teacher_was_retrained_on_validation_images(command, tmp_path):
    assert command(*TINY, "schedule.retrain_student=true").code == 0
    (directory,) = (tmp_path / "store" / "run").iterdir()
    finished = command(*AS_TEACHER, "teacher=run", f"teacher.path={directory}", store=tmp_path / "other")
    assert "was retrained on the validation images" in finished.out


class TestIdentity:
    def hashes(self, *words):
        return identity.hashes(loading.load([*words]), "digest", "fp32")

    def test_depends_on_content_and_not_on_location(self, earlier_run, other_run, tmp_path):
        shutil.copytree(earlier_run, tmp_path / "moved")
        here = self.hashes("teacher=run", f"teacher.path={earlier_run}")
        assert self.hashes("teacher=run", f"teacher.path={tmp_path / 'moved'}") == here
        assert self.hashes("teacher=run", f"teacher.path={other_run}")[0] != here[0]

    def test_of_an_ensemble_depends_on_members_hint_member_and_temperature(self, earlier_run, other_run):
        configs = [
            ensemble(earlier_run, other_run),
            ensemble(earlier_run, other_run, hint=other_run),
            ensemble(earlier_run),
            ensemble(earlier_run, other_run, words=["schedule.kd.temperature=5"]),
        ]
        assert len({identity.hashes(config, "digest", "fp32")[0] for config in configs}) == 4


class TestRefuses:
    def test_a_folder_without_a_run(self, tmp_path):
        with pytest.raises(ConfigError, match=r"teacher.path=.*: no trained network there: give the run/<hash>"):
            loading.load(["teacher=run", f"teacher.path={tmp_path}"])

    def test_a_run_that_did_not_finish(self, earlier_run, tmp_path):
        shutil.copytree(earlier_run, tmp_path / "broken")
        (tmp_path / "broken" / "result.json").write_text('{"status": "diverged", "error": "loss"}')
        with pytest.raises(ConfigError, match="this run did not finish"):
            loading.load(["teacher=run", f"teacher.path={tmp_path / 'broken'}"])

    def test_the_configuration_of_another_version(self, earlier_run, tmp_path):
        shutil.copytree(earlier_run, tmp_path / "other")
        for number, content in enumerate(("_type_: Config\nunknown: 1\n", "[1, 2]", "key: 1\n")):
            directory = shutil.copytree(tmp_path / "other", tmp_path / str(number))
            (directory / "config.yaml").write_text(content)
            with pytest.raises(ConfigError, match="is not a configuration that this version can read"):
                loading.load(["teacher=run", f"teacher.path={directory}"])
        (tmp_path / "other" / "result.json").write_text("{")
        with pytest.raises(ConfigError, match="result.json cannot be read"):
            loading.load(["teacher=run", f"teacher.path={tmp_path / 'other'}"])

    @pytest.mark.parametrize("content", ["{", "{}", '{"hashes": null}'])
    def test_a_run_whose_result_does_not_name_its_images(self, earlier_run, tmp_path, content):
        directory = shutil.copytree(earlier_run, tmp_path / "changed")
        (member,) = earlier_runs.members(loading.load(["teacher=run", f"teacher.path={directory}"]).teacher).values()
        (directory / "result.json").write_text(content)
        with pytest.raises(ConfigError, match=r"result.json does not say which images .*: give another run"):
            member.data_digest()

    def test_a_file_that_holds_no_weights(self, earlier_run, tmp_path):
        shutil.copytree(earlier_run, tmp_path / "cut")
        (tmp_path / "cut" / "student.safetensors").write_bytes(b"\x08")
        with pytest.raises(ConfigError, match="student.safetensors cannot be read as weights of this network"):
            teachers.build_teacher(loading.load(["teacher=run", f"teacher.path={tmp_path / 'cut'}"]))

    def test_another_data_set(self, earlier_run):
        with pytest.raises(ConfigError, match=r"trained on digits with height 8, and dataset=mnist has 28"):
            loading.load(["dataset=mnist", "teacher=run", f"teacher.path={earlier_run}"])

    def test_another_preprocessing(self, earlier_run):
        with pytest.raises(ConfigError, match=r"trained on digits with preprocessing Scale"):
            loading.load(["dataset/preprocessing=standardize", "teacher=run", f"teacher.path={earlier_run}"])

    def test_a_preprocessing_that_was_fitted_on_other_images(self, tmp_path):
        store = tmp_path / "store"
        words = [*TINY, "dataset/preprocessing=standardize", f"store={store}"]
        first = pipeline.run(loading.load([*words, "dataset.test_images=300"]))
        again = [*AS_TEACHER, "dataset/preprocessing=standardize", f"store={store}", "teacher=run"]
        path = f"teacher.path={store / 'run' / first['hashes']['run']}"
        with pytest.raises(
            ConfigError, match="its preprocessing was fitted on other images than those of dataset=digits"
        ):
            pipeline.run(loading.load([*again, path]))
        assert pipeline.run(loading.load([*again, path, "dataset.test_images=300"]))["status"] == "finished"

    def test_a_hint_member_that_is_no_member(self, earlier_run):
        with pytest.raises(ConfigError, match=r"teacher.hint_member=elsewhere: not in teacher.members=\["):
            ensemble(earlier_run, hint="elsewhere")

    def test_a_member_that_is_listed_twice(self, earlier_run):
        with pytest.raises(ConfigError, match="a folder is listed twice"):
            ensemble(earlier_run, earlier_run)
