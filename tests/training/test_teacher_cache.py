"""The teacher's answers: looked up as computed, whatever the order, view and process; and wrong ones are caught."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY
from test_splits import SILENCE
from test_stages import Watch, prepared

from fitnets.composition import loading
from fitnets.config import Augmentation
from fitnets.errors import ConfigError, DamagedError
from fitnets.experiment import pipeline
from fitnets.machine import devices
from fitnets.models import build
from fitnets.models.layers import LOGITS
from fitnets.models.network import freeze, place
from fitnets.planning import identity as planning
from fitnets.store import digests
from fitnets.store.files import read_json, read_metrics
from fitnets.store.weights import read_weights
from fitnets.training import loop, metrics
from fitnets.training.loop import fit
from fitnets.training.teacher_cache import CachedTeacher, LiveTeacher, TeacherCache

PAIRED = "conv1"
AUGMENTED = ("schedule.hint.augmentation={flip: true, pad: 2}", "schedule.student.augmentation={flip: true, pad: 2}")
FLIPPED = ("schedule.hint.augmentation.flip=true", "schedule.student.augmentation.flip=true")
AUGMENTATIONS = {
    "none": Augmentation(),
    "flips": Augmentation(flip=True),
    "crops": Augmentation(pad=2),
    "both": Augmentation(flip=True, pad=2),
}


@pytest.fixture
def plan(tiny, tmp_path):
    return prepared(tiny, tmp_path)


@pytest.fixture
def library(plan, tmp_path):
    return TeacherCache(tmp_path, plan.teacher, plan.hashes.teacher, SILENCE)


def looked_up(plan, library, objective, *, views=None) -> CachedTeacher:
    need = plan.need(objective, plan.data)
    assert need.looked_up == objective.wants
    return library.answers(need if views is None else replace(need, views=views), plan.data)


def batches(plan, views, epochs, size=48):
    for epoch in range(epochs):
        for rows in plan.data.train.shuffled(size, seed=epoch):
            yield plan.data.train.viewed(rows, views.view_of_epoch(epoch), views)


def files(root):
    return {path.parent.name: path for path in root.glob("cache/*/answers.npy")}


class TestTables:
    @pytest.mark.parametrize("augmentation", AUGMENTATIONS)
    @pytest.mark.parametrize("count", [None, 2])
    def test_hold_what_the_teacher_answers_to_every_view_of_every_image(self, plan, library, augmentation, count):
        views = plan.data.views(AUGMENTATIONS[augmentation], count)
        found = looked_up(plan, library, plan.stages[1], views=views)
        computed = LiveTeacher(plan.teacher)
        seen = 0
        for batch in batches(plan, views, epochs=4):
            torch.testing.assert_close(found(batch, [LOGITS]), computed(batch, [LOGITS]), rtol=1e-5, atol=1e-6)
            seen += 1
        assert seen == 4 * (437 // 48)
        sets = {"none": 1, "flips": 1}.get(augmentation, count or 4)
        assert len(files(library.root)) == sets

    def test_of_maps_as_of_logits_and_in_the_students_layout(self, plan, library):
        views = plan.data.views(Augmentation(flip=True))
        found, computed = looked_up(plan, library, plan.stages[0], views=views), LiveTeacher(plan.teacher)
        for batch in batches(plan, views, epochs=2):
            mine, theirs = found(batch, [PAIRED])[PAIRED], computed(batch, [PAIRED])[PAIRED]
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
            assert mine.is_contiguous(memory_format=torch.channels_last)

    def test_of_validation_images_are_of_the_images_as_they_are(self, plan, library):
        views = plan.data.views(Augmentation(flip=True, pad=2))
        found, computed = looked_up(plan, library, plan.stages[0], views=views), LiveTeacher(plan.teacher)
        for batch in plan.data.valid.ordered(300):
            torch.testing.assert_close(found(batch, [PAIRED]), computed(batch, [PAIRED]), rtol=1e-5, atol=1e-6)

    def test_are_exact_where_the_batches_are_the_same(self, plan, library):
        """The arithmetic of an image does not depend on its neighbours, so batches of the tables' size agree to the
        bit."""
        table, split = library.logits(plan.data.valid), plan.data.valid
        computed = LiveTeacher(plan.teacher)
        for number, rows in enumerate(torch.split(split.rows, 250)):
            answered = computed(split.batch(rows), [LOGITS])[LOGITS]
            assert torch.equal(table[250 * number : 250 * number + len(rows)], answered)

    def test_are_made_once_and_not_computed_again(self, plan, library, monkeypatch):
        first = library.logits(plan.data.valid)
        images = []
        plan.teacher.layers["conv1"].register_forward_hook(lambda _, given, __: images.append(len(given[0])))
        assert torch.equal(library.logits(plan.data.valid), first)
        assert sum(images) == 8  # the rows that are checked

    def test_are_read_only(self, plan, library):
        library.logits(plan.data.valid)
        (path,) = files(library.root).values()
        assert path.stat().st_mode & 0o222 == 0

    def test_bf16_answers_are_stored_as_they_are(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, "engine.precision=bf16")
        assert plan.teacher.precision == "bf16"
        library = TeacherCache(tmp_path, plan.teacher, plan.hashes.teacher, SILENCE)
        found = looked_up(plan, library, plan.stages[0])
        views = plan.data.views(Augmentation())
        for batch in batches(plan, views, epochs=1):
            mine, theirs = found(batch, [PAIRED])[PAIRED], LiveTeacher(plan.teacher)(batch, [PAIRED])[PAIRED]
            assert mine.dtype == theirs.dtype == torch.bfloat16
            torch.testing.assert_close(mine, theirs, rtol=2e-2, atol=1e-3)


class TestAnother:
    """teacher, layer, split, view or precision has a table of its own."""

    def test_teacher(self, plan, library):
        library.logits(plan.data.valid)
        with torch.no_grad():
            plan.teacher.layers["softmax"].linear.bias += 1
        other = TeacherCache(library.root, plan.teacher, plan.hashes.teacher, SILENCE)
        assert other.weights_digest != library.weights_digest
        other.logits(plan.data.valid)
        assert len(files(library.root)) == 2

    def test_split(self, plan, library):
        library.logits(plan.data.valid)
        library.logits(plan.data.train)
        library.logits(replace(plan.data.valid, rows=plan.data.valid.rows[1:]))
        assert len(files(library.root)) == 3


class TestWrongOnes:
    def table(self, plan, library):
        library.logits(plan.data.valid)
        ((name, path),) = files(library.root).items()
        return name, path

    def rewrite(self, path, change):
        """Another content, with a digest that fits: what a wrong program would have written."""
        path.chmod(0o644)
        np.save(path, change(np.load(path)))
        meta = read_json(path.parent / "meta.json")
        meta["sha256"] = digests.of_file(path, None)
        (path.parent / "meta.json").write_text(json.dumps(meta))

    @pytest.mark.parametrize("shift", [1, -1, 250])
    def test_a_shifted_table_is_caught(self, plan, library, shift):
        name, path = self.table(plan, library)
        self.rewrite(path, lambda table: np.roll(table, shift, axis=1))
        with pytest.raises(ConfigError, match=rf"{name} holds other logits answers.*Remove .*{name}") as told:
            library.logits(plan.data.valid)
        assert len(str(told.value).splitlines()) == 1

    def test_a_shifted_table_ends_a_run_in_one_line(self, command, tmp_path):
        store = tmp_path / "store"
        assert command(*TINY, store=store).code == 0
        for path in files(store).values():
            self.rewrite(path, lambda table: np.roll(table, 1, axis=1))
        told = command(*TINY, "seed=1", store=store)
        assert told.code == 1
        assert "than the teacher gives" in told.err
        assert len(told.err.splitlines()) == 1

    def test_mirrored_pictures_in_the_wrong_order_are_caught(self, plan, library):
        views = plan.data.views(Augmentation(flip=True))
        library.table(LOGITS, plan.data.train, views, 0)
        (path,) = files(library.root).values()
        self.rewrite(path, lambda table: table[::-1])
        with pytest.raises(ConfigError, match="than the teacher gives"):
            library.table(LOGITS, plan.data.train, views, 0)

    def test_values_that_are_not_finite_are_caught(self, plan, library):
        _, path = self.table(plan, library)
        self.rewrite(path, lambda table: np.full_like(table, np.nan))
        with pytest.raises(ConfigError, match="than the teacher gives"):
            library.logits(plan.data.valid)

    @pytest.mark.parametrize("damage", ["flip", "truncate", "no meta"])
    def test_a_damaged_file_is_told(self, plan, library, damage):
        name, path = self.table(plan, library)
        path.chmod(0o644)
        content = bytearray(path.read_bytes())
        if damage == "flip":
            content[-100] ^= 1
            path.write_bytes(content)
        elif damage == "truncate":
            path.write_bytes(content[:-100])
        else:
            (path.parent / "meta.json").unlink()
        with pytest.raises(DamagedError, match=rf"remove .*{name}, and it is made again"):
            library.logits(plan.data.valid)

    def test_a_disk_without_room_is_told_beforehand(self, plan, library, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 100))
        with pytest.raises(ConfigError, match=r"the teacher's answers take .* GB .*hint_cache_gb=0"):
            library.logits(plan.data.valid)
        assert files(library.root) == {}


class TestTraining:
    """Looked up or computed: the same losses. Exact equality is not to be had, since the tables' batches have another
    size than a stage's; with 1e-4 relative after two epochs the differences are those of the last digits."""

    def curves(self, tiny, root, *words, fresh):
        plan = prepared(tiny, root, *words, f"engine.views={'fresh' if fresh else 'auto'}")
        library = TeacherCache(root, plan.teacher, plan.hashes.teacher, SILENCE)
        found = []
        for objective in plan.stages:
            need = plan.need(objective, plan.data)
            objective.teacher_outputs = LiveTeacher(plan.teacher) if fresh else library.answers(need, plan.data)
            watch = Watch()
            fit(objective, plan.data, seed=0, eval_batch_size=500, observer=watch, views=plan.views(objective))
            found += [[epoch.train["train_loss"], *epoch.valid.values()] for epoch in watch.epochs]
        return found

    @pytest.mark.parametrize("augmentation", [(), FLIPPED, AUGMENTED], ids=["none", "flips", "both"])
    @pytest.mark.parametrize("method", ["hints", "joint", "mimic"])
    def test_gives_the_same_losses_either_way(self, tiny, tmp_path, augmentation, method):
        words = (*augmentation, f"method={method}", "schedule.hint.epochs=3", "schedule.student.epochs=3")
        computed = self.curves(tiny, tmp_path, *words, fresh=True)
        again = self.curves(tiny, tmp_path, *words, fresh=False)
        assert len(computed) == len(again) >= 3
        for number, (mine, theirs) in enumerate(zip(again, computed, strict=True)):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4 if number == 0 else 2e-3)

    def test_goes_on_after_a_restart_as_if_there_had_been_none(self, command, tmp_path, monkeypatch):
        """Stopped in mid-epoch of stage 1 and of stage 2, tables removed between: the same bits."""
        words = (*TINY, *AUGMENTED, "schedule.hint.epochs=3", "schedule.student.epochs=3")
        whole = tmp_path / "whole"
        assert command(*words, store=whole).code == 0
        real, steps = loop._step, []

        def step(state, batch):
            real(state, batch)
            steps.append(state.stage.name)
            if len(steps) in (15, 40):
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(loop, "_step", step)
        broken = tmp_path / "broken"
        codes = []
        for _ in range(3):
            codes.append(command(*words, store=broken).code)
            shutil.rmtree(broken / "cache")
        assert codes == [143, 143, 0]
        logs = [read_metrics(next(root.glob("run/*/metrics.jsonl"))) for root in (whole, broken)]
        for row in (*logs[0], *logs[1]):
            row.pop("timing")
        assert logs[0] == logs[1]

    def test_two_processes_make_and_share_one_set_of_tables(self, tmp_path):
        words = [*TINY, *AUGMENTED, f"store={tmp_path}", "test=false"]
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        both = [
            subprocess.Popen([sys.executable, ROOT / "run.py", *words, f"seed={seed}"], env=environment, cwd=tmp_path)
            for seed in (0, 1)
        ]
        assert [process.wait() for process in both] == [0, 0]
        metas = [read_json(path) for path in tmp_path.glob("cache/*/meta.json")]
        made = [json.dumps({key: meta[key] for key in ("rows", "layer", "pictures")}) for meta in metas]
        assert len(made) == len(set(made)) == 4  # maps and logits, of training and of validation images
        assert not list(tmp_path.glob("cache/.*partial*"))
        losses = [read_metrics(path)[-1]["train_loss"] for path in tmp_path.glob("run/*/metrics.jsonl")]
        alone = pipeline.run(loading.load([*TINY, *AUGMENTED, f"store={tmp_path / 'alone'}", "test=false"]))
        ((path),) = (tmp_path / "alone").glob("run/*/metrics.jsonl")
        assert read_metrics(path)[-1]["train_loss"] in losses
        assert alone["status"] == "finished"

    def test_stage_2_never_runs_the_teacher_once_the_tables_are_there(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, *FLIPPED)
        library = TeacherCache(tmp_path, plan.teacher, plan.hashes.teacher, SILENCE)
        whole = plan.stages[1]
        images = []
        plan.teacher.layers["conv1"].register_forward_hook(lambda _, given, __: images.append(len(given[0])))
        for expected in (2 * 437 + 16, 16):  # each picture of the training images, once; the check, for both pictures
            images.clear()
            whole.answers = library.answers(plan.need(whole, plan.data), plan.data)
            fit(whole, plan.data, seed=0, eval_batch_size=500, observer=Watch(), views=plan.views(whole))
            assert sum(images) == expected

    def test_who_stops_while_a_table_is_made_stops_at_once_and_goes_on(self, command, tmp_path, monkeypatch):
        """Outside of what is held against signals; what was trained before lies in a checkpoint."""
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        words = (*TINY, *AUGMENTED, "schedule.student.epochs=3")
        assert command(*words, store=whole).code == 0
        real, made = TeacherCache._make, []

        def make(library, request, told, folder):
            made.append(request)
            if request.layer == LOGITS and request.number == 1:
                monkeypatch.setattr(TeacherCache, "_make", real)
                signal.raise_signal(signal.SIGTERM)
                raise AssertionError("the signal waited")
            real(library, request, told, folder)

        monkeypatch.setattr(TeacherCache, "_make", make)
        assert command(*words, store=broken).code == 143
        assert list(broken.glob("run/.*.checkpoints/student/*"))
        assert command(*words, store=broken).code == 0
        weights = [next(root.glob("run/*/student.safetensors")).read_bytes() for root in (whole, broken)]
        assert weights[0] == weights[1]


class TestNeed:
    def need(self, tiny, tmp_path, *words, stage=0):
        plan = prepared(tiny, tmp_path, *words)
        return plan.need(plan.stages[stage], plan.data)

    def test_sizes_are_those_of_the_files(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, *FLIPPED)
        library = TeacherCache(tmp_path, plan.teacher, plan.hashes.teacher, SILENCE)
        told = 0
        for objective in plan.stages:
            need = plan.need(objective, plan.data)
            told += sum(need.bytes.values())
            answers = library.answers(need, plan.data)
            for split, views in ((plan.data.train, need.views), (plan.data.valid, plan.data.views(Augmentation()))):
                batch = (
                    split.viewed(split.rows[:5], 0, views) if split is plan.data.train else split.batch(split.rows[:5])
                )
                answers(batch, objective.wants)
        found = sum(np.load(path).nbytes for path in files(tmp_path).values())
        assert found == told

    def test_too_large_maps_are_computed_and_logits_are_not(self, tiny, tmp_path):
        words = ("engine.hint_cache_gb=0.0001",)
        assert self.need(tiny, tmp_path, *words).looked_up == ()
        assert self.need(tiny, tmp_path, *words, stage=1).looked_up == (LOGITS,)

    @pytest.mark.parametrize(
        ("words", "looked_up"),
        [
            ("engine.views=auto", True),
            ("engine.views=auto schedule.student.epochs=17", False),
            ("engine.views=17 schedule.student.epochs=40", True),
            ("engine.views=fresh", False),
            ("schedule.student.max_steps=5", False),
            ("schedule.student.max_steps=500", True),
        ],
    )
    def test_what_is_looked_up(self, tiny, tmp_path, words, looked_up):
        need = self.need(tiny, tmp_path, *AUGMENTED, *words.split(), stage=1)
        assert (need.looked_up == (LOGITS,)) == looked_up

    def test_flips_and_images_as_they_are_are_always_looked_up(self, tiny, tmp_path):
        for words in ((), FLIPPED):
            need = self.need(tiny, tmp_path, *words, "engine.views=fresh", "schedule.student.epochs=99", stage=1)
            assert need.looked_up == (LOGITS,)

    def test_backprop_needs_none(self, tiny, tmp_path):
        assert self.need(tiny, tmp_path, "method=backprop") is None


def test_resuming_with_other_answers_is_refused(command, tmp_path, monkeypatch):
    real, steps = loop._step, []

    def step(state, batch):
        real(state, batch)
        steps.append(True)
        if state.stage.name == "hint" and state.batches == 3:
            monkeypatch.setattr(loop, "_step", real)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(loop, "_step", step)
    store = tmp_path / "store"
    assert command(*TINY, store=store).code != 0
    told = command(*TINY, "engine.hint_cache_gb=0", store=store)
    assert told.code == 1
    assert "the hint stage was begun with" in told.err
    assert command(*TINY, store=store).code == 0


def test_a_whole_run_measures_the_teacher_from_its_table(tiny, tmp_path):
    result = pipeline.run(tiny(f"store={tmp_path}", "method=backprop"))
    plan = prepared(tiny, tmp_path, "method=backprop")
    read_weights(plan.teacher_directory / "teacher.safetensors", plan.teacher)
    logits, labels = metrics.predict(plan.teacher, plan.data.valid, 500)
    assert result["teacher"]["valid_accuracy"] == pytest.approx(1 - metrics.error(logits, labels))
    assert result["teacher"]["valid_loss"] == pytest.approx(metrics.cross_entropy(logits, labels), rel=1e-5)


class TestViewsInHashes:
    """K is part of a stage's hash where the stage is long enough to see views again, and of what it is compared by."""

    def hashes(self, *words):
        return planning.hashes(loading.load([*AUGMENTED, *words]), "digest", "fp32")

    def kinship(self, *words):
        return planning.comparison_keys(loading.load([*AUGMENTED, *words]), "digest", "fp32")

    def test_of_stages_that_see_views_again(self):
        assert self.hashes("engine.views=auto") == self.hashes("engine.views=fresh") == self.hashes("engine.views=30")
        first, second = self.hashes(), self.hashes("engine.views=10")  # quick: 10 epochs of hints, 30 of stage 2
        assert (first.hint, first.teacher) == (second.hint, second.teacher)
        assert first.run != second.run
        assert self.hashes("engine.views=9").hint != first.hint
        assert self.hashes("engine.views=10").run != self.hashes("engine.views=11").run

    def test_not_without_crops(self):
        plain = [
            planning.hashes(loading.load([word]), "digest", "fp32") for word in ("engine.views=2", "engine.views=3")
        ]
        assert plain[0] == plain[1]

    def test_runs_are_compared_with_those_that_saw_as_many(self):
        assert self.kinship("engine.views=10").setting != self.kinship().setting
        assert self.kinship("engine.views=10").setting == self.kinship("engine.views=10", "method=kd").setting
        hint_alone = ("schedule.student.augmentation.pad=0",)
        assert self.kinship(*hint_alone, "engine.views=2").method != self.kinship(*hint_alone).method


def test_freed_memory_is_kept():
    """A block that is freed is the next one of its size: without `_keep_freed_memory` it goes back to the system."""
    code = (
        "import sys, resource, torch; from fitnets.machine import devices\n"
        "torch.set_num_threads(1)\n"
        "if sys.argv[1] == 'kept': devices._keep_freed_memory()\n"
        "for _ in range(5): torch.ones(2**24)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(5): torch.ones(2**24)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    faults = [
        int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "as it is")
    ]
    assert faults[0] < 0.05 * faults[1]


class TestPrecision:
    def precision(self, *words, device="cpu"):
        return devices.precision(loading.load(list(words)), torch.device(device))

    def test_auto_is_a_matter_of_hardware_and_teacher(self, monkeypatch):
        for has_it in (True, False):
            monkeypatch.setattr(devices, "_multiplies_bf16", lambda _, has_it=has_it: has_it)
            assert self.precision() == "fp32"  # digits: too small to gain
            for student in ("fitnet1", "fitnet4"):
                found = self.precision("dataset=cifar10", f"student={student}")
                assert found == ("bf16" if has_it else "fp32")
            assert self.precision("dataset=mnist") == ("bf16" if has_it else "fp32")
            assert self.precision("dataset=mnist", "schedule=paper") == "fp32"  # see below
            assert self.precision("engine.precision=bf16") == "bf16"
            assert self.precision("dataset=cifar10", "engine.precision=fp32") == "fp32"

    def test_bf16_cannot_tell_images_apart_by_the_papers_first_weights(self):
        """Biases move at once, features hardly differ: the student's outputs are the same for all images."""
        config = loading.load(["dataset=mnist", "schedule=paper"])
        images, spread = torch.rand(64, 1, 28, 28), {}
        for precision in ("fp32", "bf16"):
            student = build.network(config.student, config.dataset, "student")
            build.initialise(student, config.schedule.student_init, seed=0)
            for part in student.trainable_parts().values():
                for name, value in part.named_parameters():
                    if "bias" in name:
                        torch.nn.init.constant_(value, 0.005)  # some updates of RMSProp at its rate of 0.0005
            logits = place(student, torch.device("cpu"), precision)(images)[0]
            spread[precision] = logits.float().std(0).max().item()
        assert spread["bf16"] == 0 < spread["fp32"]

    def test_is_part_of_every_hash(self, tiny):
        first, second = (planning.hashes(tiny(), "digest", precision) for precision in ("fp32", "bf16"))
        assert not set(first) & set(second)
        kin = [planning.comparison_keys(tiny(), "digest", precision) for precision in ("fp32", "bf16")]
        assert kin[0].setting != kin[1].setting

    def test_bf16_keeps_weights_losses_and_state_in_fp32(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, "engine.precision=bf16")
        freeze(plan.teacher)
        hint, whole = plan.stages
        for objective in (hint, whole):
            batch = plan.data.train.batch(plan.data.train.rows[:48])
            loss, terms = objective.step(batch, 0)
            assert loss.dtype == torch.float32
            assert all(value.dtype == torch.float32 for value in terms.values() if isinstance(value, torch.Tensor))
            loss.backward()
        for parameter in plan.student.parameters():
            assert parameter.dtype == parameter.grad.dtype == torch.float32
        features = plan.student(batch.images, plan.student.hint_layer_names)[1]
        assert {value.dtype for value in features.values()} == {torch.bfloat16}

    def test_bf16_learns_what_fp32_learns(self, tiny, tmp_path):
        results = [
            pipeline.run(tiny(f"store={tmp_path}", f"engine.precision={precision}", "schedule.student.epochs=8"))
            for precision in ("fp32", "bf16")
        ]
        first, second = (result["student"]["valid_accuracy"] for result in results)
        assert first == pytest.approx(second, abs=0.06)
        assert [result["timing"]["precision"] for result in results] == ["fp32", "bf16"]

    def test_networks_answer_the_same_in_either_layout(self, plan):
        batch = plan.data.train.batch(plan.data.train.rows[:48])
        plain = plan.teacher.to(memory_format=torch.contiguous_format)
        expected = plain(batch.images)[0]
        torch.testing.assert_close(place(plain, torch.device("cpu"), "fp32")(batch.images)[0], expected)
