"""Training, transcription and beam search on a GPU, held to the same on a CPU. Run by `make gpu`."""

import numpy as np
import pytest
import torch
from helpers import FLOAT32_EPSILON, sing
from test_training import TEXTS, configure, corpus, losses  # noqa: F401  # a fixture

import asr
from asr.cli.train import train_stage
from asr.decoding.beam import BeamDecoder
from asr.text.tokenizer import CharTokenizer

pytestmark = pytest.mark.gpu

# Sums on a GPU are made in another order, and the weights of a step pass its roundings on to the next.
STEP_ROUNDING = 1000 * FLOAT32_EPSILON


def test_training_on_both_and_what_the_models_say(corpus, tmp_path):  # noqa: F811
    """The first losses: later ones drift apart, as Adam turns roundings of small gradients into steps of full size."""
    for accelerator in ("cpu", "cuda"):
        options = [f"machine.accelerator={accelerator}", "model.dropout=0", "training.log_every_steps=1"]
        train_stage(configure(corpus, tmp_path / accelerator, *options))
    cpu, gpu = (losses(tmp_path / name) for name in ("cpu", "cuda"))
    assert [step for step, _ in cpu] == [step for step, _ in gpu]
    assert [loss for _, loss in gpu[:3]] == pytest.approx([loss for _, loss in cpu[:3]], rel=STEP_ROUNDING)
    assert gpu[-1][1] == pytest.approx(cpu[-1][1], rel=0.05)

    on_cpu, on_gpu = (asr.load_model(tmp_path / "cuda" / "model", device=device) for device in ("cpu", "cuda"))
    for text in TEXTS[:4]:
        samples = torch.from_numpy(sing(text, np.random.default_rng(0)))[None]
        lengths = torch.tensor([samples.shape[1]])
        ours, num_frames = on_cpu.emissions(samples, lengths)
        theirs, other_frames = on_gpu.emissions(samples.cuda(), lengths.cuda())
        assert num_frames.tolist() == other_frames.tolist()
        assert (ours - theirs.cpu()).abs().max() <= STEP_ROUNDING * max(1.0, float(ours.abs().max()))
        assert on_gpu.transcribe(samples[0].numpy()).text == on_cpu.transcribe(samples[0].numpy()).text


def test_a_run_in_bfloat16_learns(corpus, tmp_path):  # noqa: F811
    train_stage(configure(corpus, tmp_path / "run", "machine.accelerator=cuda", "machine.precision=bf16"))
    found = losses(tmp_path / "run")
    assert all(np.isfinite(loss) for _, loss in found)
    assert found[-1][1] < found[0][1]


def test_the_beam_search_on_a_gpu_finds_what_the_compiled_one_finds():
    tokenizer = CharTokenizer.train(TEXTS)
    rng = np.random.default_rng(0)
    log_probs = torch.from_numpy(rng.standard_normal((3, 60, tokenizer.vocab_size)).astype(np.float32) * 3)
    log_probs = log_probs.log_softmax(-1)
    lengths = torch.tensor([60, 41, 0])
    decoder = BeamDecoder.build(tokenizer, 0.03, beam_width=20)
    on_cpu = decoder.decode(log_probs, lengths, list("uvw"))
    on_gpu = decoder.decode(log_probs.cuda(), lengths.cuda(), list("uvw"))
    assert [each.text for each in on_gpu] == [each.text for each in on_cpu]
    for ours, theirs in zip(on_gpu, on_cpu):
        assert ours.score == pytest.approx(theirs.score, rel=STEP_ROUNDING, abs=STEP_ROUNDING)
