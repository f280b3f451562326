"""The model card of a student on the Hugging Face Hub: a YAML header, and sections that each push writes anew."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scipy import stats

from fitnets.config import Config, LibraryTeacher
from fitnets.data import image_files
from fitnets.exporting import card
from fitnets.store import layout

CARD = "README.md"
ONNX = "student.onnx"
FILES = (CARD, layout.CONFIG, layout.FITTED, layout.RESULT, ONNX, layout.STUDENT_WEIGHTS)
"""All files of a pushed student."""
LICENCE = "mit"
_BEGIN, _END = "<!-- fitnets: written by each push -->", "<!-- fitnets: end -->"
_SECTION = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
_SPLITS = {"test": "test", "valid": "validation"}


def _hub() -> Any:
    """The Hub's library. Its progress bars warn in a notebook without ipywidgets when they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import huggingface_hub
    return huggingface_hub


def of_folder(folder: Path, config: Config, values: Mapping[str, Any]) -> str:
    """The card in a folder that `fitnets push` has written, or else the card that it would write.

    values: content of the run's result.json"""
    path = folder / CARD
    return path.read_text(encoding="utf-8") if path.exists() else text(config, values)


def text(
    config: Config, values: Mapping[str, Any], *, name: str | None = None, licence: str = LICENCE, earlier: str = ""
) -> str:
    """Return the card: the header, and what is known of data, recipe, accuracy and use.

    name: USER/NAME on the Hub; None: not known
    earlier: the card of an earlier push, whose own text and further keys of the header are kept"""
    written: dict[str, Any] = header(config, values, licence).to_dict()
    body = f"{_BEGIN}\n{_sections(config, values, name)}{_END}"
    if earlier:
        old = _hub().ModelCard(earlier, ignore_metadata_errors=True)
        written = {**old.data.to_dict(), **written}
        if _SECTION.search(old.text):
            body = _SECTION.sub(lambda _: body, old.text, count=1).strip("\n")
        else:
            body = f"{old.text.strip()}\n\n{body}"
    return f"---\n{_hub().ModelCardData(**written, ignore_metadata_errors=True).to_yaml()}\n---\n\n{body}\n"


def header(config: Config, values: Mapping[str, Any], licence: str) -> Any:
    """The YAML header, a `huggingface_hub.ModelCardData`. Keys without a value are left out."""
    dataset = getattr(config.dataset, "hub", None) or config.dataset.name
    tags = ["fitnets", "knowledge-distillation", values["method"], "pytorch", "safetensors", "onnx"]
    return _hub().ModelCardData(
        base_model=_base_model(config),
        datasets=[dataset],
        eval_results=_metrics(dataset, values),
        library_name="fitnets",
        license=licence,
        metrics=["accuracy"],
        model_name=values["student"]["name"],
        pipeline_tag="image-classification",
        tags=list(dict.fromkeys(tags)),
    )


def _base_model(config: Config) -> str | None:
    """The teacher's name on the Hub, if it is a published model."""
    teacher = config.teacher
    if not isinstance(teacher, LibraryTeacher) or not teacher.pretrained or Path(teacher.model).exists():
        return None
    return f"timm/{teacher.model}" if teacher.library == "timm" else teacher.model


def _metrics(dataset: str, values: Mapping[str, Any]) -> list[Any]:
    """Accuracies of the student, each a `huggingface_hub.EvalResult`.

    `n` is the number of images; the 95 % interval (Wilson's) is over images, not runs."""
    return [
        _hub().EvalResult(
            task_type="image-classification",
            dataset_type=dataset,
            dataset_name=values["dataset"],
            dataset_split=name,
            metric_type="accuracy",
            metric_name=f"{name} accuracy",
            metric_value=values["student"][f"{split}_accuracy"],
            metric_args={"n": values["images"][split], "interval": interval(values, split), "runs": 1},
        )
        for split, name in _SPLITS.items()
        if f"{split}_accuracy" in values["student"] and split in values["images"]
    ]


def interval(values: Mapping[str, Any], split: str) -> list[float]:
    """The ends of the 95 % interval of an accuracy over the images of a split."""
    count = values["images"][split]
    correct = round(values["student"][f"{split}_accuracy"] * count)
    ends = stats.binomtest(correct, count).proportion_ci(method="wilson")
    return [round(float(ends.low), 6), round(float(ends.high), 6)]


def _sections(config: Config, values: Mapping[str, Any], name: str | None) -> str:
    student = values["student"]
    facts = {
        "classes": values["classes"],
        "input": image_files.describe(config.dataset),
        "run": values["hashes"]["run"],
    }
    parts = [
        f"# {student['name']}, {values['method']} on {values['dataset']}",
        card.origin(config.dataset, dict(values), facts),
        card.figures(dict(values)).markdown(),
        _uncertainty(values),
        f"""```python
import fitnets

student = fitnets.load("{f"hub:{name}" if name else "FOLDER"}")
logits = student(images)  # uint8 (N, C, H, W) or Pillow images; classes: student.classes
```""",
    ]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _uncertainty(values: Mapping[str, Any]) -> str:
    lines = ["The figures come from one training run: another seed gives others. 95 % intervals over images:"]
    for split, split_name in _SPLITS.items():
        if f"{split}_accuracy" in values["student"] and split in values["images"]:
            low, high = interval(values, split)
            count = values["images"][split]
            lines.append(f"{split_name} accuracy {100 * low:.2f} to {100 * high:.2f} % (n = {count}).")
    if values.get("stopped_early"):
        lines.append("A stage was stopped early.")
    return " ".join(lines)
