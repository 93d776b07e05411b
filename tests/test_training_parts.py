"""Checkpoints, optimisers, schedules, run directories."""

import json
import math

import pytest
import torch

from asr.config import difference
from asr.errors import CheckpointError, ConfigError
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
from asr.training.monitor import Monitor, draw_curves
from asr.training.optim import Schedule, count_plateaus, make_optimizer
from asr.training.run_directory import claim


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
    (tmp_path / ".unfinished-resume").write_bytes(b"half")
    assert len(list_checkpoints(tmp_path, "resume")) == 1
    save(tmp_path, 2, 2.0)
    assert sorted(path.name[:6] for path in tmp_path.iterdir()) == ["resume", "resume"]


def test_a_failed_save_leaves_the_old_ones(tmp_path, monkeypatch):
    old = save(tmp_path, 1, 1.0)
    monkeypatch.setattr("asr.training.checkpoint.put_in_place", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
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


def test_schedules_by_hand():
    cosine = Schedule("cosine", lr=1.0, warmup_steps=4, final_lr_share=0.1)
    assert [cosine(step, 0.0, []) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert cosine(100, 0.5, []) == pytest.approx(0.1 + 0.9 * 0.5)
    assert cosine(100, 1.0, []) == pytest.approx(0.1)
    plateau = Schedule("plateau", 1.0, 0, 0.1, plateau_factor=0.5, plateau_patience=2)
    assert plateau(9, 0.5, [0.5, 0.4, 0.41, 0.42, 0.43]) == 0.5
    assert plateau(9, 0.5, [0.5] + [0.6] * 100) == 0.1
    assert Schedule("constant", 1.0, 2, 0.1)(1, 0.9, [0.5, 0.6]) == 1.0
    with pytest.raises(ValueError, match="cosine, plateau or constant"):
        Schedule("linear", 1.0, 0, 0.1)


@pytest.mark.parametrize(
    ("rates", "plateaus"), [([], 0), ([3, 2, 1], 0), ([1, 2, 2], 1), ([1, 2, 2, 2, 2], 2), ([1, 1, 0.5, 1], 0)]
)
def test_plateaus(rates, plateaus):
    assert count_plateaus(rates, patience=2) == plateaus


def test_another_config_in_the_same_directory_is_refused(tmp_path):
    config = {"run_dir": "a", "optim": {"lr": 0.001}, "machine": {"num_workers": 1}}
    claim(tmp_path, config, difference)
    claim(tmp_path, {**config, "run_dir": "b", "machine": {"num_workers": 9}}, difference)
    with pytest.raises(ConfigError, match=r"optim\.lr: 0\.001 -> 0\.002"):
        claim(tmp_path, {**config, "optim": {"lr": 0.002}}, difference)


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
