"""Processes that train together do what one does: the same losses, no utterance twice, one that writes."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import FLOAT32_EPSILON, sung_corpus
from safetensors.torch import load_file
from test_training import SMALL, TEXTS, configure, corpus, losses  # noqa: F401  # a fixture
from torch import nn

from asr.data.manifest import read_manifest, write_manifest
from asr.errors import ConfigError
from asr.launcher import Launch, detect_launch
from asr.processes import Processes
from asr.training.acoustic_task import AcousticTask
from asr.training.checkpoint import list_checkpoints, load_checkpoint
from asr.training.gradient_sum import fill_buckets

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")

# Sums over utterances are made in another order in each number of processes, and the weights of a step pass its
# roundings on to the next losses. An utterance left out or taken twice would change a loss by percents.
LOSS_ROUNDING = 100 * FLOAT32_EPSILON
SCRIPT = Path(__file__).with_name("several_processes.py")
EXACT = [  # no dropout: its masks are drawn for what a process has
    "data.batch_seconds=8",
    "model.num_layers=2",
    "model.dropout=0",
    "training.log_every_steps=1",
    "training.epochs=2",
    "augment=standard",
    "augment.speeds=[0.9,1.0,1.1]",
    "augment.max_pause_seconds=0.3",  # longer ones would leave one utterance a batch
]


PLAIN = ["optim.weight_noise=0.01", "optim.ema_decay=0.9"]
BATCH_NORM = ["model.batch_norm=true", "data.batch_seconds=24"]
ONE_UTTERANCE = ["model.layer_norm=true", "data.batch_seconds=0"]  # a step: most processes have nothing to do
DROPOUT = ["model.dropout=0.2", "training.log_every_steps=3"]
# The decay multiplies weights by 1 - 1000 * 1000 in each step: after seven they leave float32.
EXPLODING = [
    *["optim.lr=1000", "optim.weight_decay=1000", "optim.warmup_steps=0", "optim.schedule=constant"],
    *["training.epochs=4", "training.nonfinite_patience=2"],
]
LANGUAGE = [
    *["model.hidden_size=16", "model.embedding_size=8", "model.num_layers=1", "model.dropout=0"],
    *["training.epochs=2", "training.num_streams=6", "training.bptt_tokens=8", "training.log_every_steps=1"],
    "machine.precision=float32",
]
JOBS = [  # name of the run directory, processes, kind, overrides
    *[(f"plain-{n}", n, "acoustic", PLAIN) for n in (1, 2, 4)],
    *[(f"batch-norm-{n}", n, "acoustic", BATCH_NORM) for n in (1, 4)],
    *[(f"one-utterance-{n}", n, "acoustic", ONE_UTTERANCE) for n in (1, 4)],
    ("changing", 2, "stopped", PLAIN),
    ("changing", 4, "acoustic", PLAIN),
    ("whole", 4, "acoustic", DROPOUT),
    ("halves", 4, "stopped", DROPOUT),
    ("halves", 4, "acoustic", DROPOUT),
    ("too-small", 2, "acoustic", ["model.batch_norm=true", "data.batch_seconds=0"]),
    ("exploding", 2, "acoustic", EXPLODING),
    *[(f"language-{n}", n, "language", LANGUAGE) for n in (1, 4)],
    ("damaged-2", 2, "damaged", PLAIN),
    *[(f"unheard-{n}", n, "unheard", [*PLAIN, "data.batch_seconds=0", "machine.cache_gib=0"]) for n in (1, 2)],
    ("too-damaged", 2, "unheard", ["data.max_unusable_share=0.02", "machine.cache_gib=0"]),
    *[(f"evaluation-{n}", n, "evaluate", []) for n in (1, 3)],  # of plain-1's model, on the damaged training set
]


@dataclass(frozen=True)
class Runs:
    directory: Path
    failed: list[bool]  # by job

    def did_fail(self, name: str) -> list[bool]:
        return [failed for job, failed in zip(JOBS, self.failed) if job[0] == name]

    def said(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text().replace("\n", " ")

    def losses(self, name: str) -> list[tuple[int, float]]:
        return losses(self.directory / name)

    def newest(self, name: str) -> dict[str, torch.Tensor]:
        return load_checkpoint(list_checkpoints(self.directory / name / "checkpoints", "resume")[-1]).tensors


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All jobs in one interpreter, whose start takes longer than they."""
    directory = tmp_path_factory.mktemp("several")
    data = [sung_corpus(directory, name, texts, seed=1) for name, texts in (("train", TEXTS * 2), ("dev", TEXTS[:4]))]
    text = directory / "text"
    text.write_text("a cab\na bad cab\nadd a cab\nabba\n" * 30)
    damaged = [damaged_copy(directory, manifest, number) for manifest, number in zip(data, (5, 1))]
    jobs = []
    for name, world_size, kind, overrides in JOBS:
        where = [*SMALL, *EXACT, f"data.train=[{data[0]}]", f"data.dev=[{data[1]}]", f"run_dir={directory / name}"]
        given = [*where, *overrides]
        if kind in ("damaged", "unheard"):
            given += [f"data.train=[{damaged[0]}]", f"data.dev=[{damaged[1]}]"]
            given.insert(len(where), "data.max_unusable_share=0.25")
        if kind == "language":
            given = [str(text), str(directory / name), *overrides]
        if kind == "evaluate":
            given = [str(directory / "plain-1" / "model"), str(damaged[0]), "-o", str(directory / name)]
        log = str(directory / f"{name}.log")
        jobs.append({"kind": kind, "world_size": world_size, "log": log, "overrides": given})
    (directory / "jobs.json").write_text(json.dumps(jobs))
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(directory / "jobs.json")], capture_output=True, text=True, check=True
    )
    return Runs(directory, [line == "1" for line in result.stdout.split()])


def damaged_copy(directory: Path, manifest: Path, number: int) -> Path:
    """The manifest with the audio of one utterance cut off."""
    utterances = read_manifest(manifest)
    audio = Path(utterances[number].audio_filepath)
    cut = audio.with_name(f"cut-{audio.name}")
    cut.write_bytes(audio.read_bytes()[:3000])
    utterances[number] = replace(utterances[number], audio_filepath=str(cut))
    write_manifest(directory / f"damaged-{manifest.name}", utterances)
    return directory / f"damaged-{manifest.name}"


def assert_same_losses(found, expected):
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert np.allclose([loss for _, loss in found], [loss for _, loss in expected], rtol=LOSS_ROUNDING, atol=0)


@pytest.mark.parametrize(("kind", "world_size"), [("plain", 2), ("plain", 4), ("batch-norm", 4), ("one-utterance", 4)])
def test_several_processes_do_what_one_does(runs, kind, world_size):
    name = f"{kind}-{world_size}"
    assert runs.did_fail(name) == [False], runs.said(name)
    assert_same_losses(runs.losses(name), runs.losses(f"{kind}-1"))
    assert f"in each of {world_size} processes" in runs.said(name)
    assert runs.said(name).count("epoch 1/2") == 1  # the leader speaks
    one, several = (load_file(runs.directory / f"{kind}-{n}" / "model" / "model.safetensors") for n in (1, world_size))
    assert all(torch.allclose(one[weight], several[weight], atol=1e-4) for weight in one)


def test_several_processes_leave_out_the_same(runs):
    """Where nobody listened before the first step, one process finds what the others have to hear of."""
    assert_same_losses(runs.losses("unheard-2"), runs.losses("unheard-1"))
    for name in ("damaged-2", "unheard-1", "unheard-2"):
        assert runs.did_fail(name) == [False], runs.said(name)
        rows = map(json.loads, (runs.directory / name / "dropped.jsonl").read_text().splitlines())
        assert [(row["set"], row["id"]) for row in rows] == [("train", "train-5"), ("dev", "dev-1")]
        assert len(re.findall(r"(train train-5|dev dev-1): ", runs.said(name))) == 2  # the leader alone, and once
        last = json.loads((runs.directory / name / "history.jsonl").read_text().splitlines()[-1])
        assert (last["utterances"], last["left_out"]) == (3, 1)


def test_too_many_lost_end_all_processes(runs):
    assert runs.did_fail("too-damaged") == [True]
    assert "ManifestError: train: 1 of 24 utterances cannot be used" in runs.said("too-damaged")


def test_a_run_goes_on_with_another_number_of_processes(runs):
    """The config decides what is computed, the machines only where."""
    assert runs.did_fail("changing") == [True, False], runs.said("changing")
    assert "resuming in epoch" in runs.said("changing")
    assert_same_losses(runs.losses("changing"), runs.losses("plain-1"))


def test_a_stopped_run_of_several_goes_on_exactly(runs):
    """All stop at the same step when one of them hears the signal, and every bit is the same afterwards."""
    assert runs.did_fail("halves") == [True, False], runs.said("halves")
    assert "Interrupted: stopped after step 6; the same command goes on" in runs.said("halves")
    whole, halves = runs.newest("whole"), runs.newest("halves")
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_batch_norm_refuses_batches_smaller_than_the_processes(runs, corpus, tmp_path):  # noqa: F811
    assert runs.did_fail("too-small") == [True]
    assert "batch norm needs an utterance in each of 2 processes" in runs.said("too-small")
    with pytest.raises(ConfigError, match="microbatch_seconds: expected 0 for a model with batch norm"):
        build_task(corpus, tmp_path / "other", "model.batch_norm=true", "machine.microbatch_seconds=2")


def test_a_bad_batch_is_skipped_by_all(runs):
    assert runs.did_fail("exploding") == [True]
    assert "2 steps in a row had a loss or gradient that is not finite" in runs.said("exploding")
    (saved,) = list_checkpoints(runs.directory / "exploding" / "checkpoints", "replay")
    assert len(load_checkpoint(saved).state["values"]["ids"]) > 1  # the whole batch


def test_language_models_too(runs):
    assert runs.did_fail("language-4") == [False], runs.said("language-4")
    assert_same_losses(runs.losses("language-4"), runs.losses("language-1"))
    one, four = (runs.newest(f"language-{n}")["carried.state"] for n in (1, 4))
    assert one.shape == four.shape
    assert torch.allclose(one, four, atol=1e-4)


def test_an_evaluation_is_split_and_comes_to_the_same(runs):
    assert runs.did_fail("evaluation-3") == [False], runs.said("evaluation-3")
    one, three = (runs.directory / f"evaluation-{n}" for n in (1, 3))
    assert (one / "hypotheses.jsonl").read_text().count("\n") == 2 * len(TEXTS) - 1
    assert json.loads((one / "score.json").read_text())["left_out"] == 1
    assert (one / "dropped.jsonl").read_text() == (three / "dropped.jsonl").read_text()
    assert runs.said("evaluation-3").count("damaged-train: 1 of 24 utterances left out:   train-5: ") == 1
    for name in ("hypotheses.jsonl", "score.json"):
        assert_equal_but_times(one / name, three / name)
    assert runs.said("evaluation-3").count("written:") == 1


def assert_equal_but_times(one, other):
    times = ("decode_seconds", "rtfx", "real_time_factor", "time", "seconds")
    pattern = rf'"({"|".join(times)})": [0-9.e+-]+'
    assert re.sub(pattern, "", one.read_text()) == re.sub(pattern, "", other.read_text())


# ---- parts --------------------------------------------------------------------------------------------------------


def build_task(corpus, run_dir, *overrides) -> AcousticTask:  # noqa: F811
    from asr.experiment import build_run
    from asr.training.monitor import Monitor

    run_dir.mkdir()
    with Monitor(run_dir, 1) as monitor:
        return build_run(configure(corpus, run_dir, *overrides), run_dir, monitor).trainer.task


@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize(("world_size", "microbatch_seconds"), [(1, 0.0), (1, 2.0), (3, 0.0), (3, 2.0), (50, 0.0)])
def test_parts_of_all_processes_are_the_batch(corpus, tmp_path, world_size, microbatch_seconds):  # noqa: F811
    task = build_task(corpus, tmp_path / "run", "data.batch_seconds=9")
    task.options = replace(task.options, microbatch_seconds=microbatch_seconds)
    plan = task.plan(0)
    dealt = [[] for _ in plan]
    for rank in range(world_size):
        task.processes = Processes(rank, world_size)
        steps = list(task.load(plan))
        assert len(steps) == len(plan)  # as many for every process, or they would wait for each other
        for item, step, ids in zip(plan, steps, dealt):
            assert step.num_labels == sum(len(task.train_data[draw].target) for draw in item)
            for part in step.parts:
                ids += part.ids
                if microbatch_seconds:
                    assert len(part.ids) == 1 or part.waveforms.numel() <= microbatch_seconds * 8000 * 1.001
    store = task.train_data.store
    assert [sorted(ids) for ids in dealt] == [sorted(store.utterances[d.index].id for d in item) for item in plan]


@pytest.mark.usefixtures("no_curves")
def test_accumulated_gradients_are_those_of_the_whole_batch(corpus, tmp_path):  # noqa: F811
    """Sums over parts, divided by the labels of all: not a mean of means."""
    from asr.experiment import build_run
    from asr.training.monitor import Monitor

    (tmp_path / "run").mkdir()
    with Monitor(tmp_path / "run", 1) as monitor:
        trainer = build_run(
            configure(corpus, tmp_path / "run", "model.dropout=0", "augment=none"), tmp_path / "run", monitor
        ).trainer
    found = []
    for microbatch_seconds in (0.0, 1.5):
        trainer.task.options = replace(trainer.task.options, microbatch_seconds=microbatch_seconds)
        (work,) = trainer.task.load(trainer.task.plan(0)[:1])
        trainer.model.train()
        nats = trainer.gradients(work, 0)
        found.append((len(work.parts), nats, [p.grad.clone() for p in trainer.model.parameters()]))
        trainer.optimizer.zero_grad()
    (one, whole_nats, whole), (several, nats, accumulated) = found
    assert (one, several > 2) == (1, True)
    assert nats.item() == pytest.approx(whole_nats.item(), rel=1e-6)
    for ours, theirs in zip(accumulated, whole):
        assert (
            ours - theirs
        ).abs().max() <= 100 * FLOAT32_EPSILON * theirs.abs().max()  # sums over some hundred frames


def test_what_is_dealt_out_comes_back_in_order():
    items = list(range(11))
    shares = [Processes(rank, 4).share(items) for rank in range(4)]
    assert [len(share) for share in shares] == [3, 3, 3, 2]
    assert sorted(item for share in shares for item in share) == items


def test_buckets_follow_from_the_parameters():
    sizes = [3, 3, 10, 1, 1]
    buckets = fill_buckets([nn.Parameter(torch.zeros(size)) for size in sizes], bucket_bytes=24)
    assert [[p.numel() for p in bucket.parameters] for bucket in buckets] == [[3, 3], [10], [1, 1]]
    mixed = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, dtype=torch.float64))]
    assert len(fill_buckets(mixed, 10**6)) == 2


def test_launchers_are_told_apart():
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
    assert detect_launch(torchrun) == Launch("torchrun", 3, 8, 2)
    step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "4"}
    step["SLURM_NTASKS_PER_NODE"] = "2"
    assert detect_launch(step) == Launch("slurm", 1, 4, 2)
    assert detect_launch({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}) == Launch()  # the script of a job, not a step
    assert detect_launch({**torchrun, "WORLD_SIZE": "1", "RANK": "0", "LOCAL_WORLD_SIZE": "1"}) == Launch()
    assert detect_launch({}).is_leader
    restarting = {**torchrun, "TORCHELASTIC_MAX_RESTARTS": "3"}
    assert detect_launch({**restarting, "TORCHELASTIC_USE_AGENT_STORE": "False"}).rank == 3
    with pytest.raises(ConfigError, match="--max-restarts 3 needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        detect_launch({**restarting, "TORCHELASTIC_USE_AGENT_STORE": "True"})
    with pytest.raises(ConfigError, match="expected as many processes on each machine"):
        detect_launch({**step, "SLURM_STEP_NUM_TASKS": "5"})
    with pytest.raises(ConfigError, match="expected srun --ntasks-per-node=N, got --ntasks alone"):
        detect_launch({name: value for name, value in step.items() if name != "SLURM_NTASKS_PER_NODE"})
    with pytest.raises(ConfigError, match="OMPI_COMM_WORLD_SIZE says 4 processes: expected torchrun or srun"):
        detect_launch({"OMPI_COMM_WORLD_SIZE": "4"})
