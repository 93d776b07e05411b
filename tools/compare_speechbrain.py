"""Training speed beside SpeechBrain's, in the same run on the same audio:

    python tools/compare_speechbrain.py --manifest data/mini_english/train.jsonl --peer-python PEER/bin/python

Both train a bidirectional LSTM of 4×320 (320 units a direction) with CTC over characters, in float32 on the CPU. Prints
JSON: utterances a second of each, and ours over theirs. `from_files` counts all from the audio files on: decoding,
padding, 80 log-mel features, normalisation by the utterance, the model's step. `from_memory` is the step alone, on
features computed before: the part of the factor that the recurrent layers make. The peer's environment, of our Python:

    python -m venv PEER
    PEER/bin/pip install torch==2.11.0 torchaudio==2.11.0 soundfile speechbrain==1.1.2

The same for all: utterances, batches (ours, by padded seconds), targets (numbers, made before), three frames side by
side as one input, layers, dropout, AdamW, the norm clipped at 5.0, computing threads, Python, torch. The workers take
turns in short blocks, each round with its own batches and in the reverse order of the round before, so that other load
on the machine meets all alike; a factor is the median of the rounds' ratios, beside the lowest and the highest.

The peer's parts are its own: Brain's `fit_batch`, DynamicItemDataset, `read_audio`, PaddedBatch and DataLoader, Fbank,
InputNormalization, ConcatDownsampler, LSTM, ctc_loss. It runs twice, for one choice decides more than all others:

- `speechbrain` gives its LSTM the lengths, which then packs the sequences. Padding reaches no result: the same function
  of the data as ours. `over_speechbrain` compares with it.
- `speechbrain_without_lengths` runs the LSTM over the padding, as SpeechBrain's TIMIT CTC recipe does. That is faster
  and another function, as the backward direction reads the padding first. `over_speechbrain_without_lengths`.

The peer has the advantage in: fused AdamW, which its recipes do not ask for; targets, for which it need not look up
labels; four processes that load (its recipes' number), up before the clock starts, to one thread of ours; and our cache
of decoded audio stays empty. Left out of ours: the loop's records and its checks of targets and gradients, which
`tools/bench.py training` measures. Different: its STFT is centred and so has two or three frames more, and its stacking
drops an incomplete last stack (`input_frames` counts them). A block begins with nothing loaded ahead, for all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

# Only the standard library up here: SpeechBrain's worker runs where the project is not installed.

SAMPLE_RATE = 16000
NUM_MELS, STACK = 80, 3
HIDDEN, LAYERS, DROPOUT = 320, 4, 0.1
LR, WEIGHT_DECAY, BETA2, CLIP_NORM = 1e-3, 1e-2, 0.98, 5.0
SEED = 1
OURS, PEER, PEER_WITHOUT_LENGTHS = "ours", "speechbrain", "speechbrain_without_lengths"
SYSTEMS = (OURS, PEER, PEER_WITHOUT_LENGTHS)  # ours first
KINDS = ("from_files", "from_memory")


def make_job(manifest: Path, num_batches: int, batch_seconds: float) -> dict[str, Any]:
    """The utterances, with numbers for targets, and an epoch's first batches of their indices, as a file can hold them.

    Raises `ManifestError` when there are too few utterances, or audio that has another rate than `SAMPLE_RATE`.
    """
    import numpy as np

    from asr.audio import probe
    from asr.ctc import required_frames
    from asr.data.manifest import read_manifest
    from asr.data.sampler import plan_epoch
    from asr.errors import ManifestError
    from asr.text.normalize import normalize
    from asr.text.tokenizer import CharTokenizer

    utterances = read_manifest(manifest)
    texts = [normalize(u.text, "lower") for u in utterances]
    tokenizer = CharTokenizer.train(texts)
    rows = []
    for utterance, text in zip(utterances, texts):
        target = tokenizer.encode(text)
        # frames of 10 ms, and two stacks of them fewer, which windows and rounding may cost
        if target and required_frames(target) <= int(utterance.duration * 100) // STACK - 2:
            audio = {"file": utterance.audio_filepath, "offset": utterance.offset, "duration": utterance.duration}
            rows.append({"id": utterance.id, **audio, "target": target})
    batches = list(plan_epoch(np.array([row["duration"] for row in rows]), batch_seconds, SEED, epoch=0))[:num_batches]
    if len(batches) < num_batches:
        raise ManifestError(
            f"{manifest}: expected enough for {num_batches} batches of {batch_seconds:g} seconds, got {len(batches)}; "
            "give a larger manifest, or smaller --batch-seconds, --batches or --rounds"
        )
    for file in (rows[index]["file"] for batch in batches for index in batch):
        if (rate := probe(file).sample_rate) != SAMPLE_RATE:  # SpeechBrain's `read_audio` does not resample
            raise ManifestError(f"expected audio of {SAMPLE_RATE} Hz, got {rate} Hz in {file}: choose other audio")
    return {"vocab_size": tokenizer.vocab_size, "utterances": rows, "batches": batches}


class OurTrainer:
    """Our features, model, loss, clipping and optimiser, on batches of a job."""

    def __init__(self, job: Mapping[str, Any], num_workers: int) -> None:
        from asr.builders import build_features, build_model
        from asr.config import FeaturesConfig, FrontendConfig, ModelConfig
        from asr.data.audio_cache import AudioStore
        from asr.data.dataset import SpeechDataset
        from asr.training.clipping import Clipping
        from asr.training.optim import make_optimizer
        from asr.types import Utterance

        rows = job["utterances"]
        utterances = [Utterance(r["id"], r["file"], r["duration"], text="", offset=r["offset"]) for r in rows]
        self.dataset = SpeechDataset(AudioStore(utterances, SAMPLE_RATE), [row["target"] for row in rows])
        self.batches = job["batches"]
        self.num_workers = num_workers
        self.filterbank = build_features(FeaturesConfig(num_mels=NUM_MELS, normalize="utterance"), SAMPLE_RATE)
        frontend = FrontendConfig("stack", STACK, STACK)
        config = ModelConfig(frontend, hidden_size=HIDDEN, num_layers=LAYERS, dropout=DROPOUT)
        self.model = build_model(config, NUM_MELS, job["vocab_size"]).train()
        self.optimizer = make_optimizer(
            self.model.parameters(), "adamw", lr=LR, weight_decay=WEIGHT_DECAY, beta2=BETA2, momentum=0.0
        )
        for group in self.optimizer.param_groups:
            group["fused"], group["foreach"] = True, False  # as the training loop has it
        self.clipping = Clipping("norm", CLIP_NORM)

    def load(self, numbers: Sequence[int]) -> Iterator[Any]:
        from asr.data.dataset import load_batches
        from asr.data.sampler import Draw

        plan = [[Draw(index, epoch=0) for index in self.batches[number]] for number in numbers]
        return load_batches(self.dataset, plan, self.num_workers)

    def features(self, batch: Any) -> dict[str, Any]:
        features, lengths = self.filterbank(batch.waveforms, batch.waveform_lengths)
        frames = len(features) * self.model.frontend.num_output_frames(features.shape[1])
        targets = {"targets": batch.targets, "target_lengths": batch.target_lengths}
        return {"features": features, "lengths": lengths, "input_frames": frames, **targets}

    def step(self, ready: Mapping[str, Any]) -> float:
        from asr.ctc import ctc_loss

        log_probs, lengths = self.model(ready["features"], ready["lengths"])
        nats = ctc_loss(log_probs, lengths, ready["targets"], ready["target_lengths"]).sum()
        loss = nats / ready["target_lengths"].sum()
        loss.backward()
        self.clipping(self.model.parameters())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())


class SpeechBrainTrainer:
    """The same of SpeechBrain's parts; `with_lengths`: whether the LSTM is told where an utterance ends."""

    def __init__(self, job: Mapping[str, Any], num_workers: int, with_lengths: bool) -> None:
        from speechbrain.lobes.features import Fbank
        from speechbrain.processing.features import InputNormalization

        self.batches = job["batches"]
        self.block: list[list[int]] = []  # the loader's batches; its processes stay while these change
        self.loader = speechbrain_loader(job["utterances"], self.block, num_workers)
        self.fbank = Fbank(sample_rate=SAMPLE_RATE, n_mels=NUM_MELS)
        self.normalize = InputNormalization(norm_type="sentence")
        self.brain = speechbrain_brain(job["vocab_size"], with_lengths)
        self.model = self.brain.modules

    def load(self, numbers: Sequence[int]) -> Iterator[Any]:
        self.block[:] = [self.batches[number] for number in numbers]
        return iter(self.loader)

    def features(self, batch: Any) -> dict[str, Any]:
        features = self.normalize(self.fbank(batch.sig.data), batch.sig.lengths)
        frames = len(features) * (features.shape[1] // STACK)
        targets = {"targets": batch.target.data, "target_lengths": batch.target.lengths}
        return {"features": features, "lengths": batch.sig.lengths, "input_frames": frames, **targets}

    def step(self, ready: Mapping[str, Any]) -> float:
        return float(self.brain.fit_batch(ready))


def speechbrain_loader(rows: Sequence[Mapping[str, Any]], batches: list[list[int]], num_workers: int) -> Any:
    import torch
    from speechbrain.dataio.dataio import read_audio
    from speechbrain.dataio.dataloader import make_dataloader
    from speechbrain.dataio.dataset import DynamicItemDataset
    from speechbrain.utils.data_pipeline import provides, takes

    @takes("wav")
    @provides("sig")
    def audio_pipeline(wav: dict[str, Any]) -> Any:
        return read_audio(wav)

    data = {}
    for row in rows:
        start, length = round(row["offset"] * SAMPLE_RATE), round(row["duration"] * SAMPLE_RATE)
        wav = {"file": row["file"], "start": start, "stop": start + length}
        data[row["id"]] = {"wav": wav, "target": torch.LongTensor(row["target"])}
    dataset = DynamicItemDataset(data, [audio_pipeline], ["id", "sig", "target"])
    return make_dataloader(dataset, batch_sampler=batches, num_workers=num_workers, persistent_workers=num_workers > 0)


def speechbrain_brain(vocab_size: int, with_lengths: bool) -> Any:
    import torch
    from speechbrain import Brain
    from speechbrain.lobes.downsampling import ConcatDownsampler
    from speechbrain.nnet.activations import Softmax
    from speechbrain.nnet.linear import Linear
    from speechbrain.nnet.losses import ctc_loss
    from speechbrain.nnet.RNN import LSTM

    class CtcBrain(Brain):
        def compute_forward(self, batch: Mapping[str, Any], _stage: Any) -> Any:
            frames = self.modules.stack(batch["features"])
            frames, _ = self.modules.rnn(frames, lengths=batch["lengths"] if with_lengths else None)
            return self.modules.log_softmax(self.modules.output(self.modules.dropout(frames)))

        def compute_objectives(self, predictions: Any, batch: Mapping[str, Any], _stage: Any) -> Any:
            return ctc_loss(predictions, batch["targets"], batch["lengths"], batch["target_lengths"], blank_index=0)

    modules = {
        "stack": ConcatDownsampler(STACK),
        "rnn": LSTM(HIDDEN, input_size=STACK * NUM_MELS, num_layers=LAYERS, dropout=DROPOUT, bidirectional=True),
        "dropout": torch.nn.Dropout(DROPOUT),
        "output": Linear(input_size=2 * HIDDEN, n_neurons=vocab_size),
        "log_softmax": Softmax(apply_log=True),
    }
    adamw = partial(torch.optim.AdamW, lr=LR, weight_decay=WEIGHT_DECAY, betas=(0.9, BETA2), fused=True)
    brain = CtcBrain(modules, adamw, run_opts={"device": "cpu", "max_grad_norm": CLIP_NORM})
    brain.on_fit_start()
    return brain


def run_block(trainer: Any, kind: str, numbers: Sequence[int]) -> dict[str, float]:
    """Train on some batches; returns seconds, frames that went into the recurrent layers, and the last loss."""
    input_frames, loss, started = 0, 0.0, time.perf_counter()
    batches: Iterable[Any] = (trainer.features(batch) for batch in trainer.load(numbers))
    if kind == "from_memory":
        batches, started = list(batches), time.perf_counter()
    for ready in batches:
        loss = trainer.step(ready)
        input_frames += ready["input_frames"]
    return {"seconds": time.perf_counter() - started, "input_frames": input_frames, "loss": loss}


def serve(system: str, job_path: Path, num_threads: int, num_workers: int) -> None:
    """A worker's life: a line of JSON for each block that is asked for, until its input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever the libraries print goes to the screen, not among the replies
    job = json.loads(job_path.read_text(encoding="utf-8"))
    import torch

    torch.set_num_threads(num_threads)
    torch.manual_seed(SEED)
    make_trainer = OurTrainer if system == OURS else partial(SpeechBrainTrainer, with_lengths=system == PEER)
    trainer: Any = make_trainer(job, num_workers)
    hello = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "speechbrain": getattr(sys.modules.get("speechbrain"), "__version__", None),
        "num_parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
    }
    print(json.dumps(hello), file=replies)
    for line in sys.stdin:
        print(json.dumps(run_block(trainer, **json.loads(line))), file=replies)


class Worker:
    """A worker process, seen from here. Raises `AsrError` when it ends before its time."""

    def __init__(self, system: str, python: str, job_path: Path, num_threads: int, num_workers: int) -> None:
        self.system = system
        command = [python, __file__, "--serve", system, str(job_path), str(num_threads), str(num_workers)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, bufsize=1, env=environment, **pipes)
        self.hello = self._reply()

    def close(self) -> None:
        self.process.communicate()  # closes its input, which ends it

    def run(self, kind: str, numbers: Sequence[int]) -> dict[str, float]:
        print(json.dumps({"kind": kind, "numbers": list(numbers)}), file=self.process.stdin)
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        from asr.errors import AsrError

        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise AsrError(
                f"the worker of {self.system} ended with status {self.process.wait()}; what it said stands above. How "
                "SpeechBrain's environment is made: see the head of this file"
            )
        reply: dict[str, Any] = json.loads(line)
        return reply


@dataclass(frozen=True)
class Block:
    """What a worker did in its turn."""

    system: str
    kind: str
    round_number: int
    utterances: int
    seconds: float
    input_frames: int
    loss: float


def take_turns(workers: Sequence[Worker], job: Mapping[str, Any], num_rounds: int) -> list[Block]:
    """All blocks of all rounds but the first, which warms up."""
    from asr.progress import track

    size = len(job["batches"]) // (num_rounds + 1)
    turns = [(number, kind) for number in range(num_rounds + 1) for kind in KINDS]
    blocks: list[Block] = []
    for number, kind in track(turns, "taking turns", shown=sys.stderr.isatty()):
        numbers = range(number * size, (number + 1) * size)
        utterances = sum(len(job["batches"][n]) for n in numbers)
        order = workers if number % 2 else workers[::-1]
        blocks += [Block(w.system, kind, number, utterances, **w.run(kind, numbers)) for w in order]
    return [block for block in blocks if block.round_number > 0]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "lowest": min(values), "highest": max(values)}


def summarize(blocks: Sequence[Block]) -> dict[str, Any]:
    """Utterances a second of each system, and ours over each peer's, round by round, as median and extremes."""
    rates = {(b.kind, b.system, b.round_number): b.utterances / b.seconds for b in blocks}
    rounds = sorted({block.round_number for block in blocks})

    def over(kind: str, peer: str) -> list[float]:
        return [rates[kind, OURS, number] / rates[kind, peer, number] for number in rounds]

    figures: dict[str, Any] = {f"over_{peer}": median(over("from_files", peer)) for peer in SYSTEMS[1:]}
    for kind in KINDS:
        figures[kind] = {
            "utterances_per_second": {s: spread([rates[kind, s, number] for number in rounds]) for s in SYSTEMS},
            "over": {peer: spread(over(kind, peer)) for peer in SYSTEMS[1:]},
        }
    used = [block for block in blocks if block.kind == "from_files"]
    figures["input_frames"] = {s: sum(b.input_frames for b in used if b.system == s) for s in SYSTEMS}
    figures["last_loss"] = {s: [b.loss for b in used if b.system == s][-1] for s in SYSTEMS}
    return figures


def check_alike(workers: Sequence[Worker]) -> None:
    """Raise `AsrError` when the workers differ in versions or in the number of parameters."""
    from asr.errors import AsrError

    for what in ("python", "torch", "num_parameters"):
        found = {worker.system: worker.hello[what] for worker in workers}
        if len(set(found.values())) > 1:
            raise AsrError(f"expected the same {what} for all, got {found}; see the head of this file")


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    from asr.files import write_json

    job = make_job(arguments.manifest, arguments.batches * (arguments.rounds + 1), arguments.batch_seconds)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        path = Path(directory) / "job.json"
        write_json(path, job)
        ours, peers = (sys.executable, arguments.workers), (arguments.peer_python, arguments.peer_workers)
        workers = []
        for system, (python, num_workers) in zip(SYSTEMS, (ours, peers, peers)):
            workers.append(stack.enter_context(closing(Worker(system, python, path, arguments.threads, num_workers))))
        check_alike(workers)
        figures = summarize(take_turns(workers, job, arguments.rounds))
    options = {name: value for name, value in vars(arguments).items() if name not in ("manifest", "peer_python")}
    return {**figures, "setup": {**workers[1].hello, **options, "load_average": os.getloadavg()[0]}}


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:  # a worker, started by the comparison
        system, path, num_threads, num_workers = sys.argv[2:]
        serve(system, Path(path), int(num_threads), int(num_workers))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help=f"audio of {SAMPLE_RATE} Hz with texts")
    parser.add_argument("--peer-python", required=True, help="the interpreter of SpeechBrain's environment")
    parser.add_argument("--threads", type=int, default=4, help="that compute, in each worker")
    parser.add_argument("--workers", type=int, default=0, help="our threads that load ahead; 0: all load between steps")
    parser.add_argument("--peer-workers", type=int, default=4, help="SpeechBrain's processes that load")
    parser.add_argument("--batch-seconds", type=float, default=160.0, help="padded audio in a batch")
    parser.add_argument("--batches", type=int, default=3, help="in a block")
    parser.add_argument("--rounds", type=int, default=5, help="that count; one more comes before them")
    arguments = parser.parse_args()
    if min(arguments.threads, arguments.batches, arguments.rounds) < 1:
        parser.error("expected --threads, --batches and --rounds of at least 1")
    print(json.dumps(compare(arguments), indent=2))


if __name__ == "__main__":
    main()
