"""The longest batch is tried first: it leaves no trace, and says what to lower when memory runs out."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import configure, corpus, losses  # noqa: F401  # a fixture

from asr.augment import SurroundingsPlanner
from asr.cli.train import train_stage
from asr.data.sampler import plan_epoch
from asr.errors import AsrError
from asr.experiment import build_run
from asr.processes import ALONE
from asr.training import probe
from asr.training.acoustic_task import AcousticPlan
from asr.training.monitor import Monitor

pytestmark = pytest.mark.usefixtures("no_curves")

NOISY = [
    "model.dropout=0.2",
    "optim.weight_noise=0.05",
    "training.log_every_steps=1",
    "augment.speeds=[0.9,1.1]",
    "augment.pause_probability=0",
    "augment.join_probability=0",
    "augment.nonspeech_probability=0",
]


@pytest.fixture
def trainer(corpus, tmp_path):  # noqa: F811
    (tmp_path / "run").mkdir()
    with Monitor(tmp_path / "run", 1) as monitor:
        yield build_run(configure(corpus, tmp_path / "run", *NOISY), tmp_path / "run", monitor).trainer


def test_the_probe_leaves_no_trace(trainer):
    model = trainer.task.model
    model.register_buffer("running", torch.zeros(1))
    model.register_forward_hook(lambda module, *_: module.running.add_(1) and None)  # as batch norm does
    model.eval()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    probe.probe_memory(trainer.task, trainer.gradients, 5)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    assert not trainer.optimizer.state_dict()["state"]


def test_a_probed_run_is_the_same(corpus, tmp_path, monkeypatch):  # noqa: F811
    probed = []
    original = probe.probe_memory
    monkeypatch.setattr("asr.experiment.probe_memory", lambda *arguments: probed.append(original(*arguments)))
    train_stage(configure(corpus, tmp_path / "probed", *NOISY, "training.epochs=1"))
    assert len(probed) == 1
    monkeypatch.setattr("asr.experiment.probe_memory", lambda *_: None)
    train_stage(configure(corpus, tmp_path / "not", *NOISY, "training.epochs=1"))
    assert losses(tmp_path / "probed") == losses(tmp_path / "not")


def longest(task, durations, budget, max_seconds=float("inf")):
    task.train_data.durations = np.array(durations)
    task.options = type(task.options)(1, budget, [0.5, 1.0], 0, 0)  # at half the speed: twice as long
    return sorted(2 * durations[draw.index] for draw in task.largest_part(max_seconds))


@pytest.mark.parametrize(
    ("durations", "budget", "expected"),
    [
        ([1.0, 2.0, 3.0], 12.0, [4.0, 6.0]),  # 2 × 6; three would be 18
        ([1.0, 1.0, 1.0, 2.5], 6.0, [2.0, 2.0, 2.0]),  # 3 × 2 is more than 1 × 5
        ([1.0, 9.0], 6.0, [18.0]),  # an utterance above the budget makes a batch of its own
        ([1.0], 0.0, [2.0]),  # 0: one utterance a batch
        ([1.0, 1.0], 100.0, [2.0, 2.0]),
    ],
)
def test_the_largest_batch_by_hand(trainer, durations, budget, expected):
    assert longest(trainer.task, durations, budget) == expected


def test_the_largest_batch_has_the_longest_pauses(trainer):
    """Two utterances of one and two seconds, at half the speed, with up to three seconds before and after each."""
    trainer.task.train_data.durations = np.array([1.0, 2.0])
    around = SurroundingsPlanner(
        pause_probability=0.1, max_pause_seconds=3.0, join_probability=0.0, nonspeech_probability=0.0, max_seconds=9.0
    )
    trainer.task.options = type(trainer.task.options)(1, 18.0, [0.5, 1.0], 0, 0, surroundings=around)
    draws = trainer.task.largest_part(float("inf"))
    assert [(draw.index, draw.before) for draw in draws] == [(0, 6.0), (1, 5.0)]  # 8 seconds, and 9 instead of 10
    assert trainer.task.longest_seconds(draws) == 9.0


def test_no_epoch_has_a_larger_batch(trainer):
    durations = np.random.default_rng(0).gamma(4, 3, 500).clip(0.5, 35)
    (largest,) = {len(found) * max(found) for found in [longest(trainer.task, durations.tolist(), 160.0)]}
    for epoch in range(5):
        batches = plan_epoch(2 * durations, 160.0, 1, epoch)
        assert max(len(batch) * 2 * durations[list(batch)].max() for batch in batches) <= largest + 1e-9
    assert longest(trainer.task, durations.tolist(), 160.0, max_seconds=10.0)[-1] <= 10.0
    assert longest(trainer.task, durations.tolist(), 160.0, max_seconds=0.1) == []


class Shallow:
    """Gradients that run out of memory above so many samples."""

    processes = ALONE

    def __init__(self, trainer, most_samples):
        self.task, self.fabric, self.most = trainer.task, trainer.gradients.fabric, most_samples

    def passes(self, batch, num_labels, step):
        if batch.waveforms.numel() > self.most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")


def test_out_of_memory_says_how_many_fit(trainer):
    """The longest batch is of 4 s at 8 kHz; three quarters of its samples are allowed."""
    draws = trainer.task.largest_part(float("inf"))
    seconds = trainer.task.longest_seconds(draws)
    fitting = len(draws) - 1
    with pytest.raises(AsrError, match=rf"{fitting} of them do: set machine\.microbatch_seconds=") as raised:
        probe.probe_memory(trainer.task, Shallow(trainer, int(seconds * fitting * 8000) + 8), 0)
    assert f"microbatch_seconds={0.9 * fitting * seconds:.3g}: larger batches are" in str(raised.value)
    trainer.task.can_divide = False  # as with batch norm
    with pytest.raises(AsrError, match=rf"lower data\.batch_seconds to {0.9 * fitting * seconds:.3g} \(batch norm"):
        probe.probe_memory(trainer.task, Shallow(trainer, int(seconds * fitting * 8000) + 8), 0)


def test_what_is_computed_in_parts_is_probed_in_parts(trainer):
    """Half the batch at once is what is allowed, and what the run would do."""
    draws = trainer.task.largest_part(float("inf"))
    half = len(draws) // 2 * trainer.task.longest_seconds(draws)
    trainer.task.options = replace(trainer.task.options, microbatch_seconds=half)
    assert len(trainer.task.largest_part(float("inf"))) < len(draws)
    probe.probe_memory(trainer.task, Shallow(trainer, int(half * 8000) + 8), 0)


def test_out_of_memory_with_a_single_utterance(trainer):
    with pytest.raises(AsrError, match=r"one of \d\.\d s does\. Lower data\.max_duration_seconds to .*, and set"):
        probe.probe_memory(trainer.task, Shallow(trainer, 6000), 0)
    with pytest.raises(AsrError, match="neither does any single one: train a smaller model"):
        probe.probe_memory(trainer.task, Shallow(trainer, 0), 0)


def test_other_errors_are_not_taken_for_it(trainer):
    gradients = Shallow(trainer, 0)
    gradients.most = None  # comparing with it raises a TypeError
    with pytest.raises(TypeError):
        probe.probe_memory(trainer.task, gradients, 0)
    assert not probe.is_out_of_memory(RuntimeError("size mismatch"))
    assert probe.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert probe.is_out_of_memory(MemoryError())


SHORT_OF_MEMORY = """
import resource
from pathlib import Path
import torch
from lightning_fabric import Fabric
from asr.training.gradients import Gradients
from asr.training.probe import probe_memory
class Task:  # 64 utterances of a second, about ten MiB each
    model = torch.nn.LSTM(8, 256, batch_first=True)
    can_divide = True
    def largest_part(self, max_seconds):
        return [1.0] * 64 if max_seconds >= 1.0 else []
    def longest_seconds(self, draws):
        return max(draws)
    def load_whole(self, draws):
        return torch.zeros(len(draws), 1000, 8)
    def loss(self, model, batch):
        return model(batch)[0].sum()

torch.set_num_threads(1)
task, fabric = Task(), Fabric(accelerator="cpu", devices=1)
gradients = Gradients(fabric, task, fabric.setup(task.model), seed=1)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), -1))
probe_memory(task, gradients, 0)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
def test_memory_that_really_runs_out():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    result = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, env=environment)
    assert "AsrError: out of memory on cpu: the longest batch, 64 utterances of up to 1.0 s at once," in result.stderr
    assert "set machine.microbatch_seconds=" in result.stderr


def test_plans_make_draws_only_when_asked():
    plan = AcousticPlan([[0, 2], [1]], np.array([0.9, 1.0, 1.1]), epoch=3)
    assert [[(draw.index, draw.epoch, draw.speed) for draw in batch] for batch in plan] == [
        [(0, 3, 0.9), (2, 3, 1.1)],
        [(1, 3, 1.0)],
    ]
    assert len(plan[1:]) == 1
    assert plan[1:][0] == plan[1]
