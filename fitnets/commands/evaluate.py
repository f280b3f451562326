"""A finished student on images."""

import argparse
import json
from dataclasses import replace

from fitnets import compose, evaluation, options, rules, stored
from fitnets.resources import told_in_short
from fitnets.terminal import Terminal


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser("fitnets eval", description="A finished student (or teacher) on images.")
    parser.add_argument("run", help="folder of a run (outputs/run/HASH) or of a teacher")
    parser.add_argument("overrides", nargs="*", help="as for fitnets run: other data, engine.device=..., store=...")
    parser.add_argument("--split", choices=["train", "valid", "test"], default="test", help="default: test")
    parser.add_argument("--config-dir", help="folder with options of your own, as for fitnets run")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    arguments = parser.parse_intermixed_args(words)

    network = stored.find(arguments.run, "RUN")
    for word in arguments.overrides:
        if not word.startswith(("dataset=", "dataset.", "engine.", "store=")) or "preprocessing" in word:
            raise options.ConfigError(
                f"{word}: fitnets eval takes dataset, dataset.*, engine.* and store; images are preprocessed as those "
                "that the network was trained on"
            )
    is_own = not any(word.startswith("dataset=") for word in arguments.overrides)
    changes = [word for word in arguments.overrides if is_own and word.startswith("dataset.")]
    settings = compose.load([word for word in arguments.overrides if word not in changes], arguments.config_dir)
    dataset = settings.dataset
    if is_own:
        dataset = compose.adapted(network.config.dataset, "dataset", changes)
        rules.check_dataset(replace(network.config, dataset=dataset))
    terminal = Terminal(aside=arguments.json)
    with told_in_short(settings.root):
        result = evaluation.evaluate(network, dataset, arguments.split, settings, terminal)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    rows = [
        ["accuracy", f"{100 * result['accuracy']:.2f} %"],
        ["error", f"{100 * result['error']:.2f} %"],
        ["loss", f"{result['loss']:.4f} nats"],
        ["calibration error", f"{100 * result['calibration_error']:.2f} %"],
    ]
    title = f"{network.net.name} of {arguments.run}"
    terminal.table(title, ["", f"{result['dataset']} {result['split']}, {result['images']} images"], rows)
