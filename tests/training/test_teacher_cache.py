"""The teacher cache: tables hold the teacher's outputs in every order, view and process; wrong tables are caught."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

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
from fitnets.training.teacher_cache import CachedTeacher, TableKey, TeacherCache
from fitnets.training.teacher_outputs import LiveTeacher
from support.datasets import SILENCE
from support.processes import start
from support.runs import TINY
from support.stages import Observer, prepared

HINT_LAYER = "conv1"
AUGMENTED = ("schedule.hint.augmentation={flip: true, pad: 2}", "schedule.student.augmentation={flip: true, pad: 2}")
FLIPPED = ("schedule.hint.augmentation.flip=true", "schedule.student.augmentation.flip=true")
AUGMENTATIONS = {
    "none": Augmentation(),
    "flips": Augmentation(flip=True),
    "crops": Augmentation(pad=2),
    "both": Augmentation(flip=True, pad=2),
    "mixed crops": Augmentation(flip=True, pad=1, crop_area=0.3, mixup=0.5, cutmix=1.0),
}


@pytest.fixture
def plan(tiny, tmp_path):
    return prepared(tiny, tmp_path)


@pytest.fixture
def cache(plan, tmp_path):
    return TeacherCache(tmp_path, plan.teacher, plan.hashes.teacher, SILENCE)


def cached_teacher(plan, cache, stage, *, views=None) -> CachedTeacher:
    cache_plan = plan.cache_plan(stage, plan.data)
    assert cache_plan.cached == stage.teacher_layers
    return cache.outputs(cache_plan if views is None else replace(cache_plan, views=views), plan.data)


def batches(plan, views, epochs, size=48):
    for epoch in range(epochs):
        for rows in plan.data.train.shuffled(size, seed=epoch):
            yield plan.data.train.augmented(rows, views.view_of_epoch(epoch), views)


def files(root):
    return {path.parent.name: path for path in root.glob("cache/*/answers.npy")}


class TestTables:
    @pytest.mark.parametrize("augmentation", AUGMENTATIONS)
    @pytest.mark.parametrize("count", [None, 2])
    def test_hold_the_teachers_outputs_for_every_view_of_every_image(self, plan, cache, augmentation, count):
        views = plan.data.views(AUGMENTATIONS[augmentation], count)
        cached, live = cached_teacher(plan, cache, plan.stages[1], views=views), LiveTeacher(plan.teacher)
        seen = 0
        for batch in batches(plan, views, epochs=4):
            torch.testing.assert_close(cached(batch, [LOGITS]), live(batch, [LOGITS]), rtol=1e-5, atol=1e-6)
            seen += 1
        assert seen == 4 * (437 // 48)
        tables = {"none": 1, "flips": 1}.get(augmentation, count or 4)
        assert len(files(cache.root)) == tables

    def test_hold_maps_in_the_students_layout(self, plan, cache):
        views = plan.data.views(Augmentation(flip=True))
        cached, live = cached_teacher(plan, cache, plan.stages[0], views=views), LiveTeacher(plan.teacher)
        for batch in batches(plan, views, epochs=2):
            values, expected = (outputs(batch, [HINT_LAYER])[HINT_LAYER] for outputs in (cached, live))
            torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
            assert values.is_contiguous(memory_format=torch.channels_last)

    def test_for_validation_images_are_without_augmentation(self, plan, cache):
        views = plan.data.views(Augmentation(flip=True, pad=2))
        cached, live = cached_teacher(plan, cache, plan.stages[0], views=views), LiveTeacher(plan.teacher)
        for batch in plan.data.valid.ordered(300):
            torch.testing.assert_close(cached(batch, [HINT_LAYER]), live(batch, [HINT_LAYER]), rtol=1e-5, atol=1e-6)

    def test_are_exact_if_the_batches_are_the_same(self, plan, cache):
        """An image's arithmetic does not depend on its neighbours: batches of the tables' size agree to the bit."""
        table, split = cache.logits(plan.data.valid), plan.data.valid
        live = LiveTeacher(plan.teacher)
        for number, rows in enumerate(torch.split(split.rows, 250)):
            logits = live(split.batch(rows), [LOGITS])[LOGITS]
            assert torch.equal(table[250 * number : 250 * number + len(rows)], logits)

    def test_are_made_once_and_not_computed_again(self, plan, cache, monkeypatch):
        first = cache.logits(plan.data.valid)
        images = []
        plan.teacher.layers["conv1"].register_forward_hook(lambda _, inputs, __: images.append(len(inputs[0])))
        assert torch.equal(cache.logits(plan.data.valid), first)
        assert sum(images) == 8  # the rows that are checked

    def test_are_read_only(self, plan, cache):
        cache.logits(plan.data.valid)
        (path,) = files(cache.root).values()
        assert path.stat().st_mode & 0o222 == 0

    def test_keep_bf16_outputs_in_bf16(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, "engine.precision=bf16")
        assert plan.teacher.precision == "bf16"
        cache = TeacherCache(tmp_path, plan.teacher, plan.hashes.teacher, SILENCE)
        cached, live = cached_teacher(plan, cache, plan.stages[0]), LiveTeacher(plan.teacher)
        views = plan.data.views(Augmentation())
        for batch in batches(plan, views, epochs=1):
            values, expected = (outputs(batch, [HINT_LAYER])[HINT_LAYER] for outputs in (cached, live))
            assert values.dtype == expected.dtype == torch.bfloat16
            torch.testing.assert_close(values, expected, rtol=2e-2, atol=1e-3)


class TestSeparateTables:
    def test_for_another_teacher(self, plan, cache):
        cache.logits(plan.data.valid)
        with torch.no_grad():
            plan.teacher.layers["softmax"].linear.bias += 1
        other = TeacherCache(cache.root, plan.teacher, plan.hashes.teacher, SILENCE)
        assert other.weights_digest != cache.weights_digest
        other.logits(plan.data.valid)
        assert len(files(cache.root)) == 2

    def test_for_another_split(self, plan, cache):
        cache.logits(plan.data.valid)
        cache.logits(plan.data.train)
        cache.logits(replace(plan.data.valid, rows=plan.data.valid.rows[1:]))
        assert len(files(cache.root)) == 3


class TestWrongTables:
    def table(self, plan, cache):
        cache.logits(plan.data.valid)
        ((name, path),) = files(cache.root).items()
        return name, path

    def rewrite(self, path, change):
        """Write another content with a digest that fits, as a faulty program would."""
        path.chmod(0o644)
        np.save(path, change(np.load(path)))
        meta = read_json(path.parent / "meta.json")
        meta["sha256"] = digests.of_file(path, None)
        (path.parent / "meta.json").write_text(json.dumps(meta))

    @pytest.mark.parametrize("shift", [1, -1, 250])
    def test_a_shifted_table_is_caught(self, plan, cache, shift):
        name, path = self.table(plan, cache)
        self.rewrite(path, lambda table: np.roll(table, shift, axis=1))
        with pytest.raises(ConfigError, match=rf"{name} does not hold the teacher's logits.*Remove .*{name}") as raised:
            cache.logits(plan.data.valid)
        assert len(str(raised.value).splitlines()) == 1

    def test_a_shifted_table_ends_a_run_in_one_line(self, command, tmp_path):
        store = tmp_path / "store"
        assert command(*TINY, store=store).code == 0
        for path in files(store).values():
            self.rewrite(path, lambda table: np.roll(table, 1, axis=1))
        finished = command(*TINY, "seed=1", store=store)
        assert finished.code == 1
        assert "the teacher gives other values" in finished.err
        assert len(finished.err.splitlines()) == 1

    def test_mirrored_images_in_the_wrong_order_are_caught(self, plan, cache):
        views = plan.data.views(Augmentation(flip=True))
        cache.table(TableKey(LOGITS, plan.data.train, views, 0))
        (path,) = files(cache.root).values()
        self.rewrite(path, lambda table: table[::-1])
        with pytest.raises(ConfigError, match="the teacher gives other values"):
            cache.table(TableKey(LOGITS, plan.data.train, views, 0))

    def test_values_that_are_not_finite_are_caught(self, plan, cache):
        _, path = self.table(plan, cache)
        self.rewrite(path, lambda table: np.full_like(table, np.nan))
        with pytest.raises(ConfigError, match="the teacher gives other values"):
            cache.logits(plan.data.valid)

    @pytest.mark.parametrize("damage", ["flip", "truncate", "no meta"])
    def test_a_damaged_file_is_an_error_with_a_way_out(self, plan, cache, damage):
        name, path = self.table(plan, cache)
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
            cache.logits(plan.data.valid)

    def test_a_full_disk_is_an_error_before_a_table_is_made(self, plan, cache, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 100))
        with pytest.raises(ConfigError, match=r"the teacher's outputs take .* GB .*hint_cache_gb=0"):
            cache.logits(plan.data.valid)
        assert files(cache.root) == {}


class TestTraining:
    """Cached and computed outputs give the same losses.

    They are not equal to the bit, since the tables' batches have another size than a stage's: only the last digits
    differ, by 1e-4 relative after two epochs."""

    def curves(self, tiny, root, *overrides, fresh):
        plan = prepared(tiny, root, *overrides, f"engine.views={'fresh' if fresh else 'auto'}")
        cache = TeacherCache(root, plan.teacher, plan.hashes.teacher, SILENCE)
        rows = []
        for stage in plan.stages:
            cache_plan = plan.cache_plan(stage, plan.data)
            stage.teacher_outputs = LiveTeacher(plan.teacher) if fresh else cache.outputs(cache_plan, plan.data)
            observer = Observer()
            fit(stage, plan.data, seed=0, eval_batch_size=500, observer=observer, views=plan.views(stage))
            rows += [[epoch.train["train_loss"], *epoch.valid.values()] for epoch in observer.epochs]
        return rows

    @pytest.mark.parametrize("augmentation", [(), FLIPPED, AUGMENTED], ids=["none", "flips", "both"])
    @pytest.mark.parametrize("method", ["hints", "joint", "mimic"])
    def test_gives_the_same_losses_either_way(self, tiny, tmp_path, augmentation, method):
        overrides = (*augmentation, f"method={method}", "schedule.hint.epochs=3", "schedule.student.epochs=3")
        computed = self.curves(tiny, tmp_path, *overrides, fresh=True)
        cached = self.curves(tiny, tmp_path, *overrides, fresh=False)
        assert len(computed) == len(cached) >= 3
        for number, (values, expected) in enumerate(zip(cached, computed, strict=True)):
            np.testing.assert_allclose(values, expected, rtol=1e-4 if number == 0 else 2e-3)

    def test_resumes_to_the_bit_when_the_tables_were_removed(self, command, tmp_path, monkeypatch):
        """The run is stopped in mid-epoch of stage 1 and of stage 2, and the tables are removed each time."""
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
        words, store = [*TINY, *AUGMENTED, "test=false"], tmp_path / "store"
        both = [start(store, *words, f"seed={seed}") for seed in (0, 1)]
        assert [process.wait(120) for process in both] == [0, 0]
        metas = [read_json(path) for path in store.glob("cache/*/meta.json")]
        tables = [json.dumps({key: meta[key] for key in ("rows", "layer", "pictures")}) for meta in metas]
        assert len(tables) == len(set(tables)) == 4  # maps and logits, of training and of validation images
        assert not list(store.glob("cache/.*partial*"))
        losses = [read_metrics(path)[-1]["train_loss"] for path in store.glob("run/*/metrics.jsonl")]
        alone = pipeline.run(loading.load([*words, f"store={tmp_path / 'alone'}"]))
        ((path),) = (tmp_path / "alone").glob("run/*/metrics.jsonl")
        assert read_metrics(path)[-1]["train_loss"] in losses
        assert alone["status"] == "finished"

    def test_stage_2_never_runs_the_teacher_once_the_tables_are_there(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, *FLIPPED)
        cache = TeacherCache(tmp_path, plan.teacher, plan.hashes.teacher, SILENCE)
        whole = plan.stages[1]
        images = []
        plan.teacher.layers["conv1"].register_forward_hook(lambda _, inputs, __: images.append(len(inputs[0])))
        for expected in (2 * 437 + 16, 16):  # both versions of the training images once, then only the checked rows
            images.clear()
            whole.teacher_outputs = cache.outputs(plan.cache_plan(whole, plan.data), plan.data)
            fit(whole, plan.data, seed=0, eval_batch_size=500, observer=Observer(), views=plan.views(whole))
            assert sum(images) == expected

    def test_a_signal_ends_the_making_of_a_table_at_once_and_the_run_resumes(self, command, tmp_path, monkeypatch):
        """Tables are made where signals are not delayed; the training before them is in a checkpoint."""
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        words = (*TINY, *AUGMENTED, "schedule.student.epochs=3")
        assert command(*words, store=whole).code == 0
        real, made = TeacherCache._make, []

        def make(cache, key, identity, folder):
            made.append(key)
            if key.layer == LOGITS and key.view == 1:
                monkeypatch.setattr(TeacherCache, "_make", real)
                signal.raise_signal(signal.SIGTERM)
                raise AssertionError("the signal waited")
            real(cache, key, identity, folder)

        monkeypatch.setattr(TeacherCache, "_make", make)
        assert command(*words, store=broken).code == 143
        assert list(broken.glob("run/.*.checkpoints/student/*"))
        assert command(*words, store=broken).code == 0
        weights = [next(root.glob("run/*/student.safetensors")).read_bytes() for root in (whole, broken)]
        assert weights[0] == weights[1]


class TestPlan:
    def cache_plan(self, tiny, tmp_path, *overrides, stage=0):
        plan = prepared(tiny, tmp_path, *overrides)
        return plan.cache_plan(plan.stages[stage], plan.data)

    def test_sizes_are_those_of_the_files(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, *FLIPPED)
        cache = TeacherCache(tmp_path, plan.teacher, plan.hashes.teacher, SILENCE)
        planned_bytes = 0
        for stage in plan.stages:
            cache_plan = plan.cache_plan(stage, plan.data)
            planned_bytes += sum(cache_plan.bytes.values())
            cached = cache.outputs(cache_plan, plan.data)
            train, valid = plan.data.train, plan.data.valid
            cached(train.augmented(train.rows[:5], 0, cache_plan.views), stage.teacher_layers)
            cached(valid.batch(valid.rows[:5]), stage.teacher_layers)
        assert sum(np.load(path).nbytes for path in files(tmp_path).values()) == planned_bytes

    def test_maps_that_are_too_large_are_not_cached_and_logits_are(self, tiny, tmp_path):
        limit = "engine.hint_cache_gb=0.0001"
        assert self.cache_plan(tiny, tmp_path, limit).cached == ()
        assert self.cache_plan(tiny, tmp_path, limit, stage=1).cached == (LOGITS,)

    @pytest.mark.parametrize(
        ("overrides", "is_cached"),
        [
            ("engine.views=auto", True),
            ("engine.views=auto schedule.student.epochs=17", False),
            ("engine.views=17 schedule.student.epochs=40", True),
            ("engine.views=fresh", False),
            ("schedule.student.max_steps=5", False),
            ("schedule.student.max_steps=500", True),
        ],
    )
    def test_crops_are_cached_if_they_repeat_and_the_stage_is_long_enough(self, tiny, tmp_path, overrides, is_cached):
        cache_plan = self.cache_plan(tiny, tmp_path, *AUGMENTED, *overrides.split(), stage=1)
        assert (cache_plan.cached == (LOGITS,)) == is_cached

    def test_flips_and_images_without_augmentation_are_always_cached(self, tiny, tmp_path):
        endless = ("engine.views=fresh", "schedule.student.epochs=99")
        for overrides in ((), FLIPPED):
            cache_plan = self.cache_plan(tiny, tmp_path, *overrides, *endless, stage=1)
            assert cache_plan.cached == (LOGITS,)

    def test_backprop_needs_none(self, tiny, tmp_path):
        assert self.cache_plan(tiny, tmp_path, "method=backprop") is None


def test_resuming_with_another_cache_plan_is_refused(command, tmp_path, monkeypatch):
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
    finished = command(*TINY, "engine.hint_cache_gb=0", store=store)
    assert finished.code == 1
    assert "the hint stage was started with" in finished.err
    assert command(*TINY, store=store).code == 0


def test_a_whole_run_measures_the_teacher_from_its_table(tiny, tmp_path):
    result = pipeline.run(tiny(f"store={tmp_path}", "method=backprop"))
    plan = prepared(tiny, tmp_path, "method=backprop")
    read_weights(plan.teacher_directory / "teacher.safetensors", plan.teacher)
    logits, labels = metrics.predict(plan.teacher, plan.data.valid, 500)
    assert result["teacher"]["valid_accuracy"] == pytest.approx(1 - metrics.error(logits, labels))
    assert result["teacher"]["valid_loss"] == pytest.approx(metrics.cross_entropy(logits, labels), rel=1e-5)


class TestViewsInHashes:
    """`engine.views=K` is part of a stage's hash and comparison keys if its views repeat."""

    def hashes(self, *words):
        return planning.hashes(loading.load([*AUGMENTED, *words]), "digest", "fp32")

    def keys(self, *words):
        return planning.comparison_keys(loading.load([*AUGMENTED, *words]), "digest", "fp32")

    def test_for_stages_in_which_views_repeat(self):
        assert self.hashes("engine.views=auto") == self.hashes("engine.views=fresh") == self.hashes("engine.views=30")
        first, second = self.hashes(), self.hashes("engine.views=10")  # quick: 10 epochs of hints, 30 of stage 2
        assert (first.hint, first.teacher) == (second.hint, second.teacher)
        assert first.run != second.run
        assert self.hashes("engine.views=9").hint != first.hint
        assert self.hashes("engine.views=10").run != self.hashes("engine.views=11").run

    def test_changes_no_hash_without_crops(self):
        plain = [
            planning.hashes(loading.load([word]), "digest", "fp32") for word in ("engine.views=2", "engine.views=3")
        ]
        assert plain[0] == plain[1]

    def test_runs_are_compared_if_they_saw_equally_many(self):
        assert self.keys("engine.views=10").setting != self.keys().setting
        assert self.keys("engine.views=10").setting == self.keys("engine.views=10", "method=kd").setting
        hint_alone = ("schedule.student.augmentation.pad=0",)
        assert self.keys(*hint_alone, "engine.views=2").method != self.keys(*hint_alone).method


def test_freed_memory_is_kept():
    """Nearly every block reuses a freed one. Without `memory.keep_freed` the system gets it back, and each block has
    fresh pages. The first few blocks may be fresh in any case: how many depends on how the heap lies."""
    code = (
        "import sys, resource, torch; from fitnets.system import memory\n"
        "torch.set_num_threads(1)\n"
        "if sys.argv[1] == 'kept': memory.keep_freed()\n"
        "fresh = 0\n"
        "for _ in range(20):\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    torch.ones(2**24)\n"
        "    fresh += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before > 1000\n"
        "print(fresh)"
    )
    kept, as_it_is = (
        int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "as it is")
    )
    assert as_it_is == 20
    assert kept < 10


class TestPrecision:
    def precision(self, *words, device="cpu"):
        return devices.precision(loading.load(list(words)), torch.device(device))

    def test_auto_depends_on_hardware_and_teacher(self, monkeypatch):
        for has_bf16 in (True, False):
            monkeypatch.setattr(devices, "multiplies_bf16", lambda _, has_bf16=has_bf16: has_bf16)
            assert self.precision() == "fp32"  # digits: too small to gain
            for student in ("fitnet1", "fitnet4"):
                precision = self.precision("dataset=cifar10", f"student={student}")
                assert precision == ("bf16" if has_bf16 else "fp32")
            assert self.precision("dataset=mnist") == ("bf16" if has_bf16 else "fp32")
            assert self.precision("dataset=mnist", "schedule=paper") == "fp32"  # see below
            assert self.precision("engine.precision=bf16") == "bf16"
            assert self.precision("dataset=cifar10", "engine.precision=fp32") == "fp32"

    def test_bf16_gives_equal_outputs_for_all_images_with_the_papers_initial_weights(self):
        """Biases move at once and features hardly differ, so bf16 rounds the outputs of all images to one value."""
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
        keys = [planning.comparison_keys(tiny(), "digest", precision) for precision in ("fp32", "bf16")]
        assert keys[0].setting != keys[1].setting

    def test_bf16_keeps_weights_losses_and_state_in_fp32(self, tiny, tmp_path):
        plan = prepared(tiny, tmp_path, "engine.precision=bf16")
        freeze(plan.teacher)
        hint, whole = plan.stages
        for stage in (hint, whole):
            batch = plan.data.train.batch(plan.data.train.rows[:48])
            loss, terms = stage.step(batch, 0)
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

    def test_networks_give_the_same_logits_in_either_layout(self, plan):
        batch = plan.data.train.batch(plan.data.train.rows[:48])
        plain = plan.teacher.to(memory_format=torch.contiguous_format)
        expected = plain(batch.images)[0]
        torch.testing.assert_close(place(plain, torch.device("cpu"), "fp32")(batch.images)[0], expected)
