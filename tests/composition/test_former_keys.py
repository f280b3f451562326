"""Keys and values of earlier versions are still accepted, with a line that names the present ones."""

import optuna
import pytest
import yaml
from hydra import compose, initialize_config_dir
from optuna.distributions import IntDistribution, distribution_to_json

from fitnets.composition import loading, overrides, text_keys
from fitnets.config import Config, LinearLr, former_keys
from fitnets.config.options import content_hash, plain, restore
from fitnets.errors import ConfigError
from fitnets.sweeper import study_settings
from support.runs import TINY

CASES = [  # (former override, present override, further overrides that both need)
    ("dataset.validation=299", "dataset.validation_images=299", ()),
    ("dataset.test=298", "dataset.test_images=298", ()),
    ("dataset.validation=9000", "dataset.validation_images=9000", ("dataset=mnist",)),
    ("engine.elsewhere=refuse", "engine.on_other_machine=refuse", ()),
    ("engine.elsewhere=begin_anew", "engine.on_other_machine=restart", ()),
    ("engine.on_other_machine=begin_anew", "engine.on_other_machine=restart", ()),
    ("returns=loss", "return_measures=loss", ()),
    ("method.hint_weight=7", "method.stages.student.terms.hint.weight=7", ("method=joint",)),
    ("method.weight=0.5", "method.stages.student.terms.label_hint.weight=0.5", ("method=dsn",)),
    ("returns=[loss,accuracy]", "return_measures=[loss,accuracy]", ()),
    *(
        (f"schedule.{stage}.lr_decay.end=0.5", f"schedule.{stage}.lr_decay.final_factor=0.5", words)
        for stage, words in (
            ("teacher", ("dataset=cifar10", "schedule=paper")),
            ("hint", ("dataset=aflw", "dataset.path=patches", "schedule=paper")),
            ("student", ("dataset=aflw", "dataset.path=patches", "schedule=paper")),
        )
    ),
]
IDS = [former for former, _, _ in CASES]


@pytest.fixture
def option_file(tmp_path):
    """Return a function that writes a user's option file and returns the folder for --config-dir."""

    def write(name: str, text: str) -> str:
        path = tmp_path / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(tmp_path / "mine")

    return write


def announced(text: str) -> list[str]:
    return [line for line in text.splitlines() if " is called " in line]


# --- the table of former keys ---


def test_the_cases_hold_every_former_key_and_value():
    table = former_keys.table()
    assert set(table.keys) == {former.partition("=")[0] for former in IDS} - set(table.values)
    assert table.values == {"engine.on_other_machine": {"begin_anew": "restart"}}


def test_no_key_of_the_configuration_has_a_former_name():
    present = set(text_keys.all_keys())
    assert not present & set(former_keys.table().keys)
    assert present >= set(former_keys.table().keys.values()) - set(former_keys._MOVED.values())


# --- one override ---


@pytest.mark.parametrize(("former", "present", "words"), CASES, ids=IDS)
def test_an_override_with_a_former_name_gives_the_same_configuration(former, present, words, capfd):
    assert loading.load([*words, former]) == loading.load([*words, present])
    (line,) = announced(capfd.readouterr().err)
    key = former.partition("=")[0]
    assert line.startswith(f"{key}=" if "begin_anew" in former else f"{key} is called ")
    assert present.partition("=")[0] in line


def test_the_command_line_takes_a_former_key_and_says_so_once(command):
    finished = command("dataset.validation=299", "seed=3", "--cfg", "job", "-p", "dataset")
    assert "validation_images: 299\n" in finished.out
    assert announced(finished.err) == [
        "dataset.validation is called dataset.validation_images now: please use the new name"
    ]
    again = command("++dataset.validation=298", "--cfg", "job", "-p", "dataset")
    assert "validation_images: 298\n" in again.out
    assert announced(again.err) == []


def test_a_present_key_prints_nothing(capfd):
    loading.load(["dataset.validation_images=299", "engine.on_other_machine=restart"])
    assert announced(capfd.readouterr().err) == []


def test_a_table_of_values_may_have_a_former_key():
    words = ["dataset=cifar10", "schedule=paper"]
    decay = loading.load([*words, "schedule.teacher.lr_decay={end: 0.5, epochs: 3}"]).schedule.teacher.lr_decay
    assert decay == LinearLr(final_factor=0.5, epochs=3)
    kept = "schedule.teacher.lr_decay={epochs:   3}"
    assert overrides.as_typed(kept) == kept


def test_an_interpolation_may_have_a_former_key():
    config = loading.load(["dataset.validation=299", "dataset.seed=${dataset.validation}"])
    assert config.dataset.seed == 299


def test_an_option_of_eval_may_have_a_former_key():
    dataset = loading.load([]).dataset
    assert loading.adapted(dataset, "dataset", ["dataset.validation=3"]).validation_images == 3


BOTH = "dataset.validation and dataset.validation_images are the same key"


def test_both_names_in_one_command_are_refused(command):
    words = ["dataset.validation=299", "dataset.validation_images=299"]
    for given in (words, words[::-1]):
        with pytest.raises(ConfigError, match=BOTH):
            loading.load(given)
        finished = command(*given)
        assert finished.code == 1
        assert BOTH in finished.err


# --- YAML files of the user ---


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("dataset/few", "defaults: [digits, _self_]\nvalidation: 299\n", ["dataset=few", "schedule=modern"]),
        ("exp/few", "# @package _global_\ndataset: {validation: 299}\n", ["+exp=few"]),
        ("exp/few", "# @package dataset\nvalidation: 299\n", ["+exp=few"]),
    ],
)
def test_an_option_file_may_have_a_former_key(name, text, words, option_file, capfd):
    folder = option_file(name, text)
    assert loading.load(words, folder).dataset.validation_images == 299
    (line,) = announced(capfd.readouterr().err)
    assert line.startswith(f"{folder}/{name}.yaml: dataset.validation is called dataset.validation_images now")


@pytest.mark.parametrize(
    ("text", "present"),
    [
        ("defaults: [joint, _self_]\nhint_weight: 7\n", "method.stages.student.terms.hint.weight=7"),
        (
            "defaults: [/hydra/fitnets/Joint@_here_, _self_]\nname: joint\nhint_weight: 7\n",
            "method.stages.student.terms.hint.weight=7",
        ),
        ("defaults: [/hydra/fitnets/LabelHints@_here_]\nname: joint\n", "method=labels_then_labels"),
    ],
)
def test_an_option_file_of_a_method_may_have_a_former_class_and_a_key_that_has_moved(text, present, option_file):
    config = loading.load(["method=mine"], option_file("method/mine", text))
    assert config.method.stages == loading.load(["method=joint", present]).method.stages


def test_the_former_switch_for_distillation_is_refused_with_the_present_term(command):
    finished = command("method=joint", "method.distill=true")
    assert finished.code == 1
    assert "give '+method.stages.student.terms.kd={}'" in finished.err
    assert len(finished.err.splitlines()) == 1


def test_an_option_file_may_have_a_former_value(option_file):
    folder = option_file("engine/other", "defaults: [default, _self_]\nelsewhere: begin_anew\n")
    assert loading.load(["engine=other"], folder).engine.on_other_machine == "restart"


def test_an_option_file_with_both_names_is_refused(option_file):
    folder = option_file("dataset/few", "defaults: [digits, _self_]\nvalidation: 299\nvalidation_images: 299\n")
    with pytest.raises(ConfigError, match=f"few.yaml: {BOTH}"):
        loading.load(["dataset=few"], folder)


def test_the_command_line_wins_over_an_option_file_with_a_former_key(option_file):
    folder = option_file("dataset/few", "defaults: [digits, _self_]\nvalidation: 299\n")
    words = ["dataset=few", "schedule=modern"]
    assert loading.load([*words, "dataset.validation_images=298"], folder).dataset.validation_images == 298


def test_a_former_key_that_is_merged_too_late_is_named_in_the_error(option_file):
    folder = option_file("decay/low", "end: 0.5\n")
    option_file("exp/low", "# @package _global_\ndefaults: [/decay/low@schedule.teacher.lr_decay]\n")
    with pytest.raises(ConfigError, match="end is called final_factor now"):
        loading.load(["dataset=cifar10", "schedule=paper", "+exp=low"], folder)


# --- stored configurations ---


def with_former_names(config: Config) -> str:
    text = yaml.safe_dump(plain(config))
    for former, present in former_keys.table().keys.items():
        if former in former_keys._MOVED:
            continue
        text = text.replace(f"{present.rpartition('.')[2]}:", f"{former.rpartition('.')[2]}:")
    return text.replace("elsewhere: restart", "elsewhere: begin_anew")


def test_a_stored_configuration_with_former_names_is_restored():
    config = loading.load(["dataset=aflw", "dataset.path=p", "schedule=paper", "engine.on_other_machine=restart"])
    stored = with_former_names(config)
    assert "begin_anew" in stored
    assert "end: 0.01" in stored
    assert "returns: null" in stored
    restored = restore(yaml.safe_load(stored))
    assert restored == config
    assert content_hash(restored) == content_hash(config)


def test_a_stored_configuration_with_both_names_is_refused():
    stored = plain(loading.load([]).dataset)
    with pytest.raises(TypeError, match="Digits has both validation and validation_images"):
        restore(stored | {"validation": 3})


# --- sweeps ---

NEW_SPACE = {"dataset.validation_images": IntDistribution(100, 300)}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"dataset.validation": "int(interval(100,300))"}, []),
        ({}, ["dataset.validation=int(interval(100,300))"]),
        ({"dataset.validation_images": "1,2"}, ["dataset.validation=int(interval(100,300))"]),
    ],
)
def test_a_search_space_has_present_names(params, words):
    space, fixed = study_settings.parsed(params, [*words, "dataset.test=300"])
    assert space == NEW_SPACE
    assert fixed == ["dataset.test_images=300"]


def test_params_with_both_names_are_refused():
    with pytest.raises(ConfigError, match=f"hydra.sweeper.params: {BOTH}"):
        study_settings.parsed({"dataset.validation": "1,2", "dataset.validation_images": "1,2"}, [])


def test_choices_may_have_former_values():
    space, _ = study_settings.parsed({}, ["engine.elsewhere=refuse,begin_anew"])
    assert space["engine.on_other_machine"].choices == ("refuse", "restart")


@pytest.mark.parametrize("key", ["params", "sampler.search_space"])
def test_tables_of_keys_in_a_sweep_file_have_present_names(key, option_file, command):
    *parents, last = f"hydra.sweeper.{key}".split(".")
    nested = "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate([*parents, last]))
    choices = "1,2" if key == "params" else "[1, 2]"
    text = f"# @package _global_\n{nested}{'  ' * (len(parents) + 1)}dataset.validation: {choices}\n"
    folder = option_file("exp/sweep", text)
    words = ("--config-dir", folder, "hydra/sweeper=study", "hydra.sweeper.study_name=s", "+exp=sweep")
    shown = command(*words, "--cfg", "hydra", "-p", "hydra.sweeper")
    assert "dataset.validation_images:" in shown.out, shown.err
    assert "dataset.validation:" not in shown.out


def test_params_on_the_command_line_have_present_names():
    word = "hydra.sweeper.params={dataset.validation: 'choice(1,2)'}"
    assert overrides.as_typed(word) == "hydra.sweeper.params={dataset.validation_images:'choice(1,2)'}"


def test_a_grid_over_a_former_key_runs(command):
    words = [word for word in TINY if not word.startswith(("dataset.validation", "teacher."))]
    finished = command("-m", *words, "method=backprop", "teacher=none", "dataset.validation=1000,1001")
    assert finished.code == 0, finished.err
    assert "dataset.validation_images=1001" in finished.out
    assert len(announced(finished.err)) == 1


class TestStudyOfAnEarlierVersion:
    """The settings and the trials of the study have the former names."""

    def study(self) -> optuna.Study:
        study = optuna.create_study()
        former = {"dataset.test": "360", "dataset.validation": distribution_to_json(IntDistribution(100, 300))}
        study.set_user_attr("setting", former)
        return study

    def setting(self, **changes: str) -> dict[str, str]:
        present = {"dataset.test_images": "360"} | changes
        return present | {key: distribution_to_json(one) for key, one in NEW_SPACE.items()}

    def test_agrees_with_the_same_command(self):
        study_settings.check_same_study(self.study(), self.setting())

    def test_refuses_another_command_by_the_present_key(self):
        with pytest.raises(ConfigError, match="was started with dataset.test_images=360, not 361"):
            study_settings.check_same_study(self.study(), self.setting(**{"dataset.test_images": "361"}))

    def test_keeps_the_names_of_its_parameters(self):
        space = study_settings.space_of_study(self.study(), NEW_SPACE)
        assert space == {"dataset.validation": IntDistribution(100, 300)}
        assert overrides.of_value("dataset.validation", 200) == "dataset.validation_images=200"

    @pytest.mark.parametrize(
        ("method", "stored"),
        [
            ("joint", {"name": '"joint"', "hint_weight": "7.0", "distill": "true"}),
            (
                "joint",
                {"name": '"joint"', "hint_weight": distribution_to_json(IntDistribution(1, 9)), "distill": "true"},
            ),
            ("dsn", {"name": '"dsn"', "weight": "1.0"}),
            ("labels_with_kd", {"name": '"labels_with_kd"', "staged": "false", "whole": '"kd"'}),
            ("hints", {"name": '"hints"'}),
            ("kd", {"name": '"kd"'}),
        ],
    )
    def test_has_the_method_of_todays_terms(self, method, stored):
        study = optuna.create_study()
        study.set_user_attr("setting", {f"method.{key}": value for key, value in stored.items()})

        def settings(*words: str) -> dict[str, str]:
            with initialize_config_dir(str(loading.CONF)):
                composed = compose("config", [f"method={method}", *words], return_hydra_config=True)
            found = study_settings.shared_settings(composed, {}, [])
            return {key: value for key, value in found.items() if key.startswith("method.")}

        words = ["+method.stages.student.terms.kd={}"] if stored.get("distill") == "true" else []
        if stored.get("hint_weight") == "7.0":
            words.append("method.stages.student.terms.hint.weight=7")
        present = settings(*words)
        if "low" in stored.get("hint_weight", ""):  # the weight is a parameter of the study
            present["method.stages.student.terms.hint.weight"] = stored["hint_weight"]
        study_settings.check_same_study(study, present)
        with pytest.raises(ConfigError, match="was started with"):
            study_settings.check_same_study(study, settings(*words, "+method.stages.student.terms.similarity={}"))

    def test_lacks_keys_that_were_added_later(self):
        settings = self.setting(**{"schedule.hint.label_smoothing": "0.0"})
        study_settings.check_same_study(self.study(), settings)
        with pytest.raises(ConfigError, match=r"schedule\.hint\.label_smoothing=None, not 0\.1"):
            study_settings.check_same_study(self.study(), settings | {"schedule.hint.label_smoothing": "0.1"})

    def test_a_new_study_has_present_names(self):
        study = optuna.create_study()
        study_settings.check_same_study(study, self.setting())
        assert set(study.user_attrs["setting"]) == {"dataset.test_images", "dataset.validation_images"}
        assert study_settings.space_of_study(study, NEW_SPACE) == NEW_SPACE
