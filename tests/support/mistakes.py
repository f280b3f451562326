"""Makes random mistakes from a seed: wrong command lines and damaged files, with what the command must do."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SIGNS = "aZ09._-/ =()[]{}~üé日'\"\\,:$%#!&*?@|;<>^`+"
LIKE_OTHERS = ("null", "true", "on", "1e3", "0.10", "007", "1_000", "0x1F", "${seed}", "a${b", "\r", "\n", "\x00"[:0])
TEXT_KEYS = {  # key: overrides that it needs
    "tracker.project": ("tracker=wandb",),
    "tracker.group": ("tracker=wandb",),
    "tracker.entity": ("tracker=wandb",),
    "store": (),
    "dataset.image_column": ("dataset=mnist", "dataset.path=x"),
    "dataset.path": ("dataset=mnist",),
}
NUMBERS = {"seed": int, "schedule.student.epochs": int, "schedule.student.optimizer.lr": float, "test": bool}
GROUPS = ("student", "teacher", "dataset", "method", "schedule", "regressor", "hint_layer", "dataset/preprocessing")
KEYS = (
    "student.guided",
    "schedule.kd.temperature",
    "engine.threads",
    "dataset.validation_images",
    "teacher.seed",
    "store",
)
COMMANDS = ("cost", "layers", "runs", "eval", "report", "export", "clean", "prepare", "reproduce", "bench", "doctor")
FLAGS = ("--json", "--out", "--split", "--int8", "--config-dir", "--yess", "--seeds", "-x", "")
OWN = "defaults: [/hydra/fitnets/Thin@_here_, _self_]\nname: own\ndepth: 3\nwidth: 4\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A command line with a mistake.

    program: `run.py` or `fitnets`
    key, text: a text key and the value that it must have if the command succeeds
    must_fail: whether the command must not succeed
    makes: prepares or damages files before the command
    """

    kind: str
    words: list[str]
    program: str = "run.py"
    key: str | None = None
    text: str = ""
    must_fail: bool = False
    makes: Callable[[], None] = field(default=lambda: None)


def make(number: int, run: Path, folder: Path) -> Mistake:
    """Make the mistake with this number, which is the seed.

    run: a finished run, of which a copy may be damaged
    folder: an empty folder for files
    """
    draw = random.Random(number)
    kinds = (_text, _text, _number, _key, _option, _command, _damage, _damage, _own_file)
    return kinds[number % len(kinds)](draw, run, folder)


def _junk(draw: random.Random, most: int = 8) -> str:
    pieces = [draw.choice([*SIGNS, *LIKE_OTHERS]) for _ in range(draw.randint(0, most))]
    return "".join(pieces)


def _text(draw: random.Random, _run: Path, _folder: Path) -> Mistake:
    key, text = draw.choice(list(TEXT_KEYS)), draw.choice([_junk(draw), draw.choice(LIKE_OTHERS)])
    return Mistake(kind="text", words=[*TEXT_KEYS[key], f"{key}={text}"], key=key, text=text)


def _number(draw: random.Random, _run: Path, _folder: Path) -> Mistake:
    key, text = draw.choice(list(NUMBERS)), _junk(draw, 4)
    try:
        NUMBERS[key](text) if key != "test" else {"true": 1, "on": 1}[text]
        is_number = True
    except (ValueError, KeyError):
        is_number = any(sign in text for sign in ("$", "(", "'", '"', "_", "null"))  # Hydra may convert it to a number
    return Mistake(kind="number", words=[f"{key}={text}"], must_fail=not is_number)


def _key(draw: random.Random, _run: Path, _folder: Path) -> Mistake:
    key = draw.choice(KEYS)
    index = draw.randrange(len(key))
    typo = key[:index] + draw.choice(["", "x", "ü", ".", "/", key[index] * 2, "="]) + key[index + 1 :]
    return Mistake(kind="key", words=[f"{draw.choice(['', '+', '++', '~'])}{typo}=3"], must_fail=typo not in KEYS)


def _option(draw: random.Random, _run: Path, _folder: Path) -> Mistake:
    return Mistake(kind="option", words=[f"{draw.choice(GROUPS)}={_junk(draw)}"], must_fail=True)


def _command(draw: random.Random, _run: Path, folder: Path) -> Mistake:
    words = [draw.choice(COMMANDS), *draw.choices([_junk(draw), draw.choice(FLAGS), f"{folder}/none"], k=2)]
    return Mistake(kind="command", program="fitnets", words=words, must_fail=True)


def _damage(draw: random.Random, run: Path, folder: Path) -> Mistake:
    """Cut, overwrite, empty or remove one file of a store, or put a folder in its place."""
    root = folder / "store"
    for kind in ("run", "teacher", "data"):
        shutil.copytree(run.parent.parent / kind, root / kind)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path, copied = draw.choice(files), root / "run" / run.name
    how, place = draw.choice(["cut", "overwrite", "empty", "remove", "folder"]), draw.random()

    def damage() -> None:
        content = path.read_bytes()
        start = int(place * len(content))
        changed = {"cut": content[:start], "overwrite": content[:start] + b"\xff\x00{" + content[start + 3 :]}
        path.unlink()
        if how == "folder":
            path.mkdir()
        elif how != "remove":
            path.write_bytes(changed.get(how, b""))

    lines = [
        ("fitnets", ["runs", str(root)]),
        ("fitnets", ["clean", str(root)]),
        ("fitnets", ["eval", str(copied), f"store={root}", "--json"]),
        ("fitnets", ["layers", "teacher=run", f"teacher.path={copied}", "student=thin", "hint_layer=middle"]),
        ("run.py", ["teacher=run", f"teacher.path={copied}", "student=thin", "hint_layer=middle"]),
    ]
    program, words = draw.choice(lines)
    kind = f"{how} {path.relative_to(root)}"
    return Mistake(kind=kind, program=program, words=words, makes=damage)


def _own_file(draw: random.Random, _run: Path, folder: Path) -> Mistake:
    """Replace a part of a user's own option file by junk."""
    place = draw.randrange(len(OWN))
    junk = draw.choice([_junk(draw).encode(), bytes(draw.choices(range(256), k=3)), b""])
    path = folder / "mine" / "student" / "own.yaml"

    def write() -> None:
        path.parent.mkdir(parents=True)
        path.write_bytes(OWN[:place].encode() + junk + OWN[place + draw.choice([0, 5]) :].encode())

    return Mistake(
        kind="own", words=["--config-dir", str(folder / "mine"), "student=own", "hint_layer=middle"], makes=write
    )
