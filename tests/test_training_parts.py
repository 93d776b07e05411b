"""Checkpoints, optimisers, schedules, run directories."""

import json
import math

import numpy as np
import pytest
import torch

from asr.audio import write_audio
from asr.augment import RecordedRooms, SynthesisedRooms
from asr.builders import build_model
from asr.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, from_json, to_json
from asr.data.manifest import write_manifest
from asr.data.sampler import Curriculum
from asr.errors import CheckpointError, ConfigError, OutputError
from asr.files import scratch_folder
from asr.launcher import Launch
from asr.training.checkpoint import (
    average,
    list_checkpoints,
    load_checkpoint,
    load_newest,
    optimizer_tensors,
    remove_all_but,
    restore_optimizer,
    save_checkpoint,
)
from asr.training.clipping import Clipping
from asr.training.course import Course, Place
from asr.training.fabric import loading_threads
from asr.training.monitor import Monitor, draw_curves
from asr.training.optim import Schedule, count_newbob, count_plateaus, make_optimizer
from asr.training_builders import (
    build_clipping,
    build_curriculum,
    build_label_smoothing,
    build_reverberation,
    build_schedule,
)
from asr.types import Utterance


def save(directory, number, value, kind="resume"):
    return save_checkpoint(directory, kind, number, {"w": torch.full((3,), float(value))}, {"step": number})


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    tensors = {"a": torch.randn(2, 3), "b": torch.arange(4), "c": torch.randn(2).bfloat16(), "t": torch.randn(3, 2).T}
    path = save_checkpoint(tmp_path, "resume", 12, tensors, {"rates": [0.1, 0.2]})
    checkpoint = load_checkpoint(path)
    assert checkpoint.state == {"rates": [0.1, 0.2]}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in checkpoint.tensors.items())
    assert path.name.startswith("resume-00000012-")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    ],
    ids=["emptied", "truncated", "one bit flipped"],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path, damage):
    save(tmp_path, 1, 1.0)
    newest = save(tmp_path, 2, 2.0)
    newest.write_bytes(damage(newest.read_bytes()))
    heard = []
    checkpoint = load_newest(tmp_path, "resume", heard.append)
    assert checkpoint is not None
    assert checkpoint.state == {"step": 1}
    assert newest.name in heard[0]
    assert "damaged" in heard[0]


def test_nothing_to_load(tmp_path):
    assert load_newest(tmp_path / "absent", "resume", pytest.fail) is None


def test_what_a_killed_save_left_is_no_checkpoint(tmp_path):
    save(tmp_path, 1, 1.0)
    with scratch_folder(tmp_path / "resume") as folder:
        left = folder
    left.mkdir()
    (left / ".tmpAbCd").write_bytes(b"half")  # as safetensors names it
    assert len(list_checkpoints(tmp_path, "resume")) == 1
    save(tmp_path, 2, 2.0)
    assert sorted(path.name[:6] for path in tmp_path.iterdir()) == ["resume", "resume"]


def test_a_failed_save_leaves_the_old_ones(tmp_path, monkeypatch):
    old = save(tmp_path, 1, 1.0)
    monkeypatch.setattr("asr.training.checkpoint.put_in_place", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OutputError, match="full"):
        save(tmp_path, 2, 2.0)
    assert list(tmp_path.iterdir()) == [old]


def test_names_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match="not named like a checkpoint"):
        load_checkpoint(tmp_path / "model.safetensors")


def test_average_and_retention(tmp_path):
    paths = [save(tmp_path, n, value, kind="epoch") for n, value in enumerate([1.0, 2.0, 6.0])]
    assert average(paths)["w"].tolist() == [3.0, 3.0, 3.0]
    remove_all_but(tmp_path, "epoch", [paths[1]])
    assert list_checkpoints(tmp_path, "epoch") == [paths[1]]
    with pytest.raises(CheckpointError, match="at least one"):
        average([])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_optimizer_goes_on_exactly(name):
    def fresh():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return model, make_optimizer(model.parameters(), name, lr=0.1, weight_decay=0.01, beta2=0.98, momentum=0.9)

    def train(model, optimizer, seeds):
        for seed in seeds:
            optimizer.zero_grad()
            model(torch.full((1, 3), float(seed))).square().sum().backward()
            optimizer.step()

    whole, whole_optimizer = fresh()
    train(whole, whole_optimizer, range(6))
    first, first_optimizer = fresh()
    train(first, first_optimizer, range(3))
    second, second_optimizer = fresh()
    second.load_state_dict(first.state_dict())
    restore_optimizer(second_optimizer, optimizer_tensors(first_optimizer))
    train(second, second_optimizer, range(3, 6))
    assert torch.equal(whole.weight, second.weight)


def test_biases_are_not_decayed():
    model = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(model.parameters(), "adamw", lr=0.1, weight_decay=0.5, beta2=0.98, momentum=0)
    assert [(len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups] == [(1, 0.5), (1, 0.0)]
    with pytest.raises(ValueError, match="adamw or sgd"):
        make_optimizer(model.parameters(), "adam", lr=0.1, weight_decay=0, beta2=0.9, momentum=0)


def at(step, progress):
    return Place(step, progress, warmed=progress)


def test_schedules_by_hand():
    cosine = Schedule("cosine", lr=1.0, warmup_share=1.0, warmup_steps=4, final_lr_share=0.1)
    assert [cosine(at(step, 0.0), []) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert cosine(at(100, 0.5), []) == pytest.approx(0.1 + 0.9 * 0.5)
    assert cosine(at(100, 1.0), []) == pytest.approx(0.1)
    plateau = Schedule("plateau", 1.0, 0.1, plateau_factor=0.5, plateau_patience=2)
    assert plateau(at(9, 0.5), [0.5, 0.4, 0.41, 0.42, 0.43]) == 0.5
    assert plateau(at(9, 0.5), [0.5] + [0.6] * 100) == 0.1
    assert Schedule("constant", 1.0, 0.1)(at(1, 0.9), [0.5, 0.6]) == 1.0
    with pytest.raises(ValueError, match="newbob or constant, got 'linear'"):
        Schedule("linear", 1.0, 0.1)


@pytest.mark.parametrize("num_steps", [4, 120, 1000, 100_000])
def test_however_short_a_run_is_its_rate_arrives(num_steps):
    """A tenth of the run, at most 200 steps: of 120 steps 12, where a warm-up of 200 steps would end at 0.6."""
    schedule = Schedule("constant", 1.0, 0.1, warmup_share=0.1, warmup_steps=200)
    rates = [schedule(at(step, step / num_steps), []) for step in range(num_steps)]
    assert rates.index(1.0) == min(-(-num_steps // 10), 199)
    assert rates == sorted(rates)
    assert rates[0] == 1 / 200
    assert Schedule("constant", 1.0, 0.1, warmup_share=0.0, warmup_steps=200)(at(0, 0.0), []) == 1.0
    assert Schedule("constant", 1.0, 0.1, warmup_share=0.1, warmup_steps=0)(at(0, 0.0), []) == 1.0


def test_a_run_with_more_epochs_than_it_began_with_by_hand():
    """Of 2 epochs, then of 4, then of 8: each time it had ended. The warm-up stays a share of the 2."""
    course = Course(8, first_epochs=2, restarts=(2, 4))
    places = [course.place(9, epochs_done) for epochs_done in (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.5)]
    assert [place.progress for place in places] == [0.0, 0.5, 0.0, 0.5, 0.0, 0.5, 0.875]
    assert [place.is_restarted for place in places] == [False, False, True, True, True, True, True]
    assert [place.warmed for place in places] == [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 3.75]
    assert Course(4).place(9, 1.0) == Place(9, 0.25, 0.25)
    for name in ("cosine", "one_cycle"):
        schedule = Schedule(name, 2.0, final_lr_share=0.1, restart_share=0.3)
        rates = [schedule(place, []) for place in places]
        assert rates[2:6] == pytest.approx([0.6, 0.4, 0.6, 0.4])
        assert schedule(Place(9, 1.0, 4.0, is_restarted=True), []) == pytest.approx(0.2)
    assert Schedule("constant", 2.0, 0.1)(places[3], []) == 2.0


def test_one_cycle_by_hand():
    """Up from 0.1 to 1 in the first 40 % of the run, down to 0.02 in the rest: half-way is the mean of both ends."""
    cycle = Schedule("one_cycle", 2.0, final_lr_share=0.02, peak_share=0.4, start_lr_share=0.1)
    shares = [cycle(at(0, progress), []) / 2.0 for progress in (0.0, 0.2, 0.4, 0.7, 1.0)]
    assert shares == pytest.approx([0.1, 0.55, 1.0, 0.51, 0.02])
    warming = Schedule("one_cycle", 2.0, 0.02, 1.0, 4, peak_share=0.4)
    assert warming(Place(0, 0.4, warmed=0.0), []) == 0.5  # a warm-up multiplies
    with pytest.raises(ValueError, match="peak_share"):
        Schedule("one_cycle", 1.0, 0.1, peak_share=1.0)


def test_one_cycle_equals_pytorchs():
    """PyTorch's reaches its peak after step 0.3 N − 1 and its end after N − 1, so progress is (step + 1) / N."""
    num_steps = 1000
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, num_steps, pct_start=0.3, div_factor=25.0, final_div_factor=4.0, cycle_momentum=False
    )
    ours = Schedule("one_cycle", 0.1, final_lr_share=0.01, peak_share=0.3, start_lr_share=0.04)
    for step in range(num_steps):
        rate = ours(at(step, (step + 1) / num_steps), [])
        # on the way up theirs begins at step 0, so that there the two differ by less than a step's worth
        assert rate == pytest.approx(theirs.get_last_lr()[0], abs=1e-9 if step >= 299 else 0.1 * math.pi / 2 / 299)
        optimizer.step()
        theirs.step()


def test_newbob_by_hand():
    """0.4 -> 0.399 is an improvement of a quarter per cent, too little: halved there and with every epoch after."""
    newbob = Schedule("newbob", 1.0, 0.1, plateau_factor=0.5, newbob_threshold=0.005)
    rates = [0.5, 0.4, 0.399, 0.3, 0.2, 0.1, 0.05]
    expected = [1, 1, 1, 0.5, 0.25, 0.125, 0.1, 0.1]
    assert [newbob(at(9, 0.5), rates[:epochs]) for epochs in range(8)] == expected


@pytest.mark.parametrize(
    ("rates", "count"),
    [
        ([], 0),
        ([0.5], 0),
        ([0.5, 0.5], 1),
        ([0.5, 0.6, 0.1], 2),
        ([0.5, 0.4975], 0),
        ([0.5, 0.498], 1),
        ([0.0, 0.0], 0),
    ],
)
def test_newbob_begins_with_the_first_small_improvement(rates, count):
    assert count_newbob(rates, threshold=0.005) == count


def gradients_of(values, weights=None):
    """A parameter for each list, with that gradient; its weights are ones where none are given."""
    parameters = []
    for number, value in enumerate(values):
        gradient = torch.tensor(value)
        weight = torch.ones_like(gradient) if weights is None else torch.tensor(weights[number])
        parameters.append(torch.nn.Parameter(weight))
        parameters[-1].grad = gradient
    return [*parameters, torch.nn.Parameter(torch.ones(2))]  # the last one has no gradient


def test_clipping_the_norm_and_values_by_hand():
    parameters = gradients_of([[3.0, 0.0], [[-4.0], [0.0]]])  # norm 5
    assert float(Clipping("norm", 1.0)(parameters)) == 5.0
    assert parameters[0].grad.tolist() == pytest.approx([0.6, 0.0], abs=1e-6)
    parameters = gradients_of([[3.0, 0.5], [[-4.0], [0.0]]])
    assert float(Clipping("value", 1.0)(parameters)) == pytest.approx(25.25**0.5)
    assert [p.grad.tolist() for p in parameters[:2]] == [[1.0, 0.5], [[-1.0], [0.0]]]


def test_clipping_of_norms_is_pytorchs_to_the_bit():
    ours, theirs = (gradients_of([[3.0, 0.1], [[-4.0], [0.7]]]) for _ in range(2))
    assert torch.equal(Clipping("norm", 0.3)(ours), torch.nn.utils.clip_grad_norm_(theirs, 0.3))
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours[:2], theirs[:2]))


def test_adaptive_clipping_by_hand():
    """Rows of weights of norm 5 and 0 allow gradients of norm 0.5 and 0.1 · 0.001; a vector is one unit."""
    parameters = gradients_of(
        [[[6.0, 8.0], [3.0, 4.0], [0.0, 0.0]], [0.01, 0.0]], [[[3.0, 4.0], [0.0, 0.0], [1.0, 1.0]], [0.0, 1.0]]
    )
    assert float(Clipping("adaptive", 0.1)(parameters)) == pytest.approx((100 + 25 + 0.0001) ** 0.5)
    assert parameters[0].grad.flatten().tolist() == pytest.approx([0.3, 0.4, 0.6e-4, 0.8e-4, 0.0, 0.0])
    assert parameters[1].grad.tolist() == pytest.approx([0.01, 0.0])  # below its limit of 0.1: as it was


@pytest.mark.parametrize("name", ["norm", "value", "adaptive"])
def test_clipping_tells_of_gradients_that_are_not_finite(name):
    assert not math.isfinite(Clipping(name, 1.0)(gradients_of([[1.0, math.nan], [[2.0]]])))


@pytest.mark.parametrize(("name", "limit"), [("agc", 1.0), ("norm", 0.0), ("value", -1.0), ("norm", math.nan)])
def test_clipping_options_are_checked(name, limit):
    with pytest.raises(ValueError, match="expected"):
        Clipping(name, limit)


@pytest.mark.parametrize(
    ("rates", "plateaus"), [([], 0), ([3, 2, 1], 0), ([1, 2, 2], 1), ([1, 2, 2, 2, 2], 2), ([1, 1, 0.5, 1], 0)]
)
def test_plateaus(rates, plateaus):
    assert count_plateaus(rates, patience=2) == plateaus


def values(step):
    return {"loss": math.exp(-step), "wer": 0.5, "cer": 0.2, "blank_share": 0.9, "train_loss": 1.0, "seconds": 1.0}


def test_a_resumed_history_forgets_what_came_after_the_checkpoint(tmp_path):
    with Monitor(tmp_path, 3) as monitor:
        monitor.resume(0, 0)
        for step in range(6):
            monitor.step(step, 0, {"loss": 1.0, "lr": 0.1, "grad_norm": 2.0})
        monitor.epoch(6, 0, values(6), is_best=True)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')  # killed while it wrote
    with Monitor(tmp_path, 3) as monitor:
        monitor.resume(3, 0)
        monitor.step(3, 0, {"loss": 9.0, "lr": 0.1, "grad_norm": 2.0})
    records = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [0, 1, 2, 3]
    assert records[-1]["loss"] == 9.0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert any((tmp_path / "tensorboard").iterdir())


def test_curves_of_nothing_can_be_drawn(tmp_path):
    draw_curves([], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_model_directories_from_before_an_option_have_its_default():
    values = to_json(ModelConfig(hidden_size=7))
    for name in ("batch_norm", "norm_place", "variational_dropout", "weight_drop"):
        del values[name]
    del values["frontend"]["batch_norm"]
    assert from_json(ModelConfig, values) == ModelConfig(hidden_size=7)
    with pytest.raises(ConfigError, match="batch_norm: expected true or false, got 1"):
        from_json(ModelConfig, {**values, "batch_norm": 1})
    del values["hidden_size"]
    with pytest.raises(ConfigError, match="'hidden_size' is missing"):
        from_json(ModelConfig, values)


def test_configs_become_what_they_name(tmp_path):
    room = np.array([0, 1, 0.5, 0.25], np.float32)
    write_audio(tmp_path / "room.wav", room, 8000)
    write_manifest(tmp_path / "rooms.jsonl", [Utterance("room", str(tmp_path / "room.wav"), len(room) / 8000, "")])
    config = AugmentConfig(reverberation_probability=1.0, rooms=[str(tmp_path / "rooms.jsonl")])
    recorded = build_reverberation(config, 8000, cache_gib=0.1)
    assert recorded is not None
    assert isinstance(recorded.rooms, RecordedRooms)
    assert recorded.rooms.draw(np.random.default_rng(0)) == pytest.approx(room, abs=2**-15)
    synthesised = build_reverberation(AugmentConfig(reverberation_probability=0.5), 8000, cache_gib=0.1)
    assert synthesised is not None
    assert synthesised.rooms == SynthesisedRooms(8000, 0.15, 0.8, 0.0, 15.0)
    smoothing = build_label_smoothing(AugmentConfig(label_smoothing=0.1, smoothing_prior="unigram"), {1: 2}, 4, 3)
    assert smoothing is not None
    assert smoothing.log_prior.exp().tolist() == pytest.approx([3 / 7, 3 / 7, 1 / 7])  # 2, 2 and 0, and 1 each
    assert build_curriculum(DataConfig(sorted_epochs=1)) == Curriculum(1, 0, 0.1)
    assert build_clipping(OptimConfig()) == Clipping("norm", 5.0)
    assert build_schedule(OptimConfig(schedule="newbob")).newbob_threshold == 0.005


def test_nothing_asked_for_nothing_built():
    assert build_reverberation(AugmentConfig(), 8000, cache_gib=0.1) is None
    assert build_label_smoothing(AugmentConfig(), {1: 1}, 5, 3) is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: build_reverberation(AugmentConfig(reverberation_probability=2.0), 8000, 0.1),
            "augment: reverberation",
        ),
        (
            lambda: build_reverberation(AugmentConfig(reverberation_probability=0.5, min_rt60_seconds=0.0), 8000, 0.1),
            "min_rt60_seconds",
        ),
        (lambda: build_label_smoothing(AugmentConfig(label_smoothing=1.0), {1: 1}, 5, 3), r"augment\.label_smoothing"),
        (
            lambda: build_label_smoothing(AugmentConfig(label_smoothing=0.1, smoothing_prior="bigram"), {1: 1}, 5, 3),
            r"augment\.smoothing_prior: expected uniform or unigram, got 'bigram'",
        ),
        (lambda: build_curriculum(DataConfig(first_share=0.0)), "first_share"),
        (lambda: build_clipping(OptimConfig(clipping="none")), r"optim\.clipping.*norm, value or adaptive"),
        (lambda: build_schedule(OptimConfig(schedule="one-cycle")), r"optim\.schedule: .*one_cycle"),
        (lambda: build_model(ModelConfig(weight_drop=1.0), 8, 3), "model: .*weight_drop"),
        (lambda: build_model(ModelConfig(norm_place="input"), 8, 3), "model: .*norm_place"),
    ],
)
def test_options_that_make_no_sense_are_named(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize(
    ("asked", "device", "cores", "threads", "processes_a_node", "expected"),
    [
        (3, "cpu", 4, 4, 1, 3),  # what is asked for
        (0, "cuda", 16, 1, 1, 0),
        (-1, "cpu", 4, 4, 1, 0),  # all compute: they load between the steps
        (-1, "cpu", 4, 1, 1, 3),
        (-1, "cpu", 4, 1, 4, 0),  # each process has one core
        (-1, "cuda", 16, 1, 4, 4),
        (-1, "cuda", 64, 1, 1, 8),  # beyond these a disk is what is waited for
        (-1, "cuda", 4, 1, 8, 1),
    ],
)
def test_threads_that_load_are_those_with_nothing_else_to_do(
    monkeypatch, asked, device, cores, threads, processes_a_node, expected
):
    monkeypatch.setattr("asr.training.fabric.num_cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    launch = Launch("torchrun", 0, processes_a_node, 1)
    assert loading_threads(asked, torch.device(device), launch) == expected
