"""A contract with Hydra: the private names that this project uses exist and behave as it needs."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from fitnets.composition import hydra_internals, own_options
from fitnets.sweeper.grid import GridSweeper
from support.composed import remember
from support.places import ROOT
from support.runs import TINY

PIN = (
    f"Hydra {hydra.__version__} does not do what fitnets.composition.hydra_internals needs: adapt that module, or pin "
    f"{hydra_internals.TESTED_WITH}"
)


def parse(text: str):
    return OverridesParser.create().parse_override(text)


def test_the_tested_versions_are_the_pinned_ones():
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(hydra_internals.TESTED_WITH.split()) <= set(pinned)


@pytest.mark.parametrize(
    "words",
    [
        [*TINY],
        ["dataset=svhn", "schedule=paper", "seed=2"],
        ["+sweeps=depth_width", "hydra.sweeper.n_trials=3", "seed=1"],
    ],
)
def test_what_the_suite_remembers_is_what_hydra_composes(words):
    """`support.composed` remembers compositions for all tests: of the same options, with other values."""
    others = [*words, "engine.threads=3", "store=/tmp/b", "++hydra.job.name=other"]

    def composed(overrides: list[str]) -> dict:
        with initialize_config_dir(str(ROOT / "conf")):
            config = compose("config", overrides, return_hydra_config=True)
        return OmegaConf.to_container(config, resolve=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_loader_impl, "create_defaults_list", defaults_list.create_defaults_list)
        merge = inspect.unwrap(ConfigLoaderImpl._compose_config_from_defaults_list)
        calls = []

        def counted(loader, defaults, repo):
            calls.append(defaults)
            return merge(loader, defaults, repo)

        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", counted)
        expected = [composed(overrides) for overrides in (words, others)]
        assert expected[0] != expected[1]
        remember(patch)
        assert [composed(overrides) for overrides in (words, others, words)] == [*expected, expected[0]]
        assert len(calls) == 3


@pytest.fixture
def composed_from(tmp_path) -> Iterator[Path]:
    """A folder with one configuration; afterwards the sources are arranged as the project needs them."""
    (tmp_path / "config.yaml").write_text("width: 3\n")
    yield tmp_path
    own_options.install()


def test_hydra_uses_the_sources_that_are_arranged(composed_from):
    class Wider(hydra_internals.FileConfigSource):
        def load_config(self, config_path):
            result = super().load_config(config_path)
            result.config.width = 9
            return result

    def arrange(sources):
        is_file = [type(source) is hydra_internals.FileConfigSource for source in sources]
        assert any(is_file), PIN
        return [
            Wider(source.provider, source.path) if is_one else source
            for source, is_one in zip(sources, is_file, strict=True)
        ]

    hydra_internals.arrange_sources(arrange)
    with initialize_config_dir(str(composed_from)):
        assert compose("config").width == 9, PIN


def test_sources_have_the_providers_that_the_order_needs(composed_from):
    providers = []
    hydra_internals.arrange_sources(lambda sources: providers.extend(s.provider for s in sources) or sources)
    with initialize_config_dir(str(composed_from)):
        compose("config", [f"hydra.searchpath=['file://{composed_from}']"])
    assert "hydra" in providers, PIN
    assert any(provider.startswith("hydra.searchpath") for provider in providers), PIN


def test_plugins_instantiate_a_class_by_the_target_of_its_node():
    """`rename_sweepers` replaces the target in a copy of the node, since Hydra compares the node with every job's."""
    node = OmegaConf.create({"_target_": "sweeps.grid.GridSweeper", "max_batch_size": None})
    OmegaConf.set_readonly(node, True)
    assert isinstance(Plugins.instance()._instantiate(node), GridSweeper)
    assert node._target_ == "sweeps.grid.GridSweeper"


def test_basic_sweeper_has_the_attributes_that_grids_use():
    """A grid replaces `launcher` after `setup`, and reads `overrides` in `get_job_batch` to announce its jobs."""
    sweeper = hydra_internals.BasicSweeper(max_batch_size=None, params=None)
    assert sweeper.launcher is None
    assert sweeper.overrides is None
    sweeper.overrides = [[["a=1"], ["a=2"]]]
    assert sweeper.get_job_batch() == [["a=1"], ["a=2"]]


def test_hydras_own_sweeper_and_launcher_are_registered_plugins():
    classes = Plugins.instance().class_name_to_class.values()
    assert {hydra_internals.BasicSweeper, hydra_internals.BasicLauncher} <= set(classes), PIN


def test_a_table_is_read_and_written_with_its_quotes():
    override = parse("key={lr: 0.10, name: 'a b', inner: {x: [1, null]}}")
    table = hydra_internals.table_of(override)
    assert list(table or []) == ["lr", "name", "inner"], PIN
    text = hydra_internals.text_of_table(override, {"rate": table["lr"], "name": table["name"]})
    assert parse(f"key={text}").value() == {"rate": 0.1, "name": "a b"}, PIN
    assert "'a b'" in text, PIN
    assert hydra_internals.table_of(parse("key=3")) is None


def test_the_outcome_of_a_job_is_its_value_or_its_error():
    error = ValueError("failed")
    done = JobReturn(status=JobStatus.FAILED)
    done.return_value = error
    assert hydra_internals.outcome(done) is error, PIN
    with pytest.raises(ValueError, match="failed"):
        _ = done.return_value


def test_nodes_and_values_keep_interpolations():
    config = OmegaConf.create({"a": "${b}", "b": 3, "c": ["${b}"], "d": {"e": 1}})
    assert hydra_internals.raw_value(config, "a") == "${b}", PIN
    assert hydra_internals.raw_value(config.c, 0) == "${b}", PIN
    assert hydra_internals.node_of(config, "d").e == 1, PIN


def test_no_other_module_uses_private_names_of_hydra():
    for path in sorted((ROOT / "fitnets").rglob("*.py")):
        if path.name != "hydra_internals.py":
            text = path.read_text()
            for name in ("hydra._internal", "class_name_to_class", "_get_node", "._return_value"):
                assert name not in text, f"{path} uses {name}: put it into fitnets/composition/hydra_internals.py"
