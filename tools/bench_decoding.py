"""The beam search against flashlight-text, on the same log-probabilities, in the same run.

Real log-probabilities come from `asr evaluate --save-log-probs` (`--emissions FILE`), a real word 4-gram from
`asr lm train` (`--lm FILE`, ARPA); without them both are made up, alike for everyone. Ours uses all threads, flashlight
has one. Each takes its turn several times; the ratio is that of the medians.

A search error is an utterance for which flashlight found a better score than ours, each by its own account: the paths
that its search summed up. Each is then judged by the definition of the score, all paths of both labellings:

    tie         the two labellings score the same
    reference   ours scores more: flashlight's account of its own labelling is wrong
    pruned      theirs scores more: ours had left our beam

`labelling_better` and `labelling_worse` count the utterances for which our labelling is better or worse by the
definition, whatever the searches say: neither beam holds them all.

With `--busy` it is ours alone, by turns on the machine as it is and with a busy loop for each core beside it.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from decoding_inputs import FRAME_SECONDS, LM_WEIGHT, WORD_BONUS, Inputs, Speech, load_inputs
from torch.nn.utils.rnn import pad_sequence

from asr.ctc import ctc_loss
from asr.data.ahead import num_usable_cores
from asr.decoding.beam import BeamDecoder
from asr.decoding.labelling_scores import score_parts
from asr.ngram.model import NgramModel, load_ngram

ROUNDS = 3
BUSY_ROUNDS = 5
WIDTHS = (16, 100)
WITH_MODEL = "beam100_4gram"
TOLERANCE = 1e-2  # of scores: flashlight's emissions and sums are float32
Work = tuple[torch.Tensor, torch.Tensor, list[str]]  # (B, T, V) log-probabilities, (B,) lengths, ids
JUDGEMENTS = ("tie", "reference", "pruned")


def run(emissions: Path | None = None, lm: Path | None = None, busy: bool = False) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        inputs = load_inputs(emissions, lm, Path(folder))
        return beside_busy_loops(inputs) if busy else beside_flashlight(inputs)


def decoders(inputs: Inputs) -> dict[str, BeamDecoder]:
    """Ours, by the names of their figures."""
    tokenizer, model = inputs.speech.tokenizer, load_ngram(inputs.arpa)
    found = {f"beam{width}": BeamDecoder.build(tokenizer, FRAME_SECONDS, beam_width=width) for width in WIDTHS}
    found[WITH_MODEL] = BeamDecoder.build(
        tokenizer,
        FRAME_SECONDS,
        beam_width=100,
        language_model=model,
        lm_weight=LM_WEIGHT,
        word_bonus=WORD_BONUS,
        lexicon=spelt_words(inputs.speech, model),
    )
    return found


def spelt_words(speech: Speech, model: NgramModel) -> list[str]:
    return [word for word in model.vocab[3:] if not speech.tokenizer.unknown_symbols(word)]


def batch(speech: Speech) -> Work:
    log_probs = pad_sequence([torch.from_numpy(row) for row in speech.rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in speech.rows])
    return log_probs, lengths, [str(number) for number in range(len(speech.rows))]


# ---- beside busy loops ----------------------------------------------------------------------------------------------


def beside_busy_loops(inputs: Inputs) -> dict[str, float]:
    """Frames a second by turns alone and with one busy loop for each core, torch having a thread for each core too."""
    cores = num_usable_cores()
    torch.set_num_threads(max(2, cores))  # with one thread there would be nobody to wait for
    figures = {"threads": float(torch.get_num_threads()), "busy_loops": float(cores)}
    work = batch(inputs.speech)
    for name, decoder in decoders(inputs).items():
        decoder.decode(*work)  # compiles and warms up
        times: dict[str, list[float]] = {"quiet": [], "busy": []}
        for _ in range(BUSY_ROUNDS):
            times["quiet"].append(seconds_of(decoder, work))
            with busy_loops(cores):
                times["busy"].append(seconds_of(decoder, work))
        speeds = {kind: inputs.speech.num_frames / float(np.median(taken)) for kind, taken in times.items()}
        figures |= {f"{name}_{kind}_frames_per_second": speed for kind, speed in speeds.items()}
        figures[f"{name}_busy_over_quiet"] = speeds["busy"] / speeds["quiet"]
    return figures


@contextlib.contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Processes that compute all the time, in this machine's way."""
    processes = [
        subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
        for _ in range(number)
    ]
    try:
        for process in processes:
            process.stdout.readline()  # it runs
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()


def seconds_of(decoder: BeamDecoder, work: Work) -> float:
    started = time.perf_counter()
    decoder.decode(*work)
    return time.perf_counter() - started


# ---- beside flashlight ----------------------------------------------------------------------------------------------


def beside_flashlight(inputs: Inputs) -> dict[str, float]:
    """Speeds of both, their ratio, and what their results differ in."""
    from flashlight_search import lexicon_free, with_lexicon

    torch.set_num_threads(min(4, torch.get_num_threads()))
    speech = inputs.speech
    figures = {"threads": float(torch.get_num_threads()), "frames": float(speech.num_frames), "search_errors": 0.0}
    figures |= dict.fromkeys((*(f"search_errors_{judgement}" for judgement in JUDGEMENTS),), 0.0)
    figures |= dict.fromkeys(("labelling_better", "labelling_worse"), 0.0)
    ours = decoders(inputs)
    for width in WIDTHS:
        compare(figures, f"beam{width}", speech, ours[f"beam{width}"], lexicon_free(speech.tokenizer, width))
    model = load_ngram(inputs.arpa)
    words = spelt_words(speech, model)
    theirs = with_lexicon(speech.tokenizer, words, inputs.arpa, beam_width=100)
    compare(figures, WITH_MODEL, speech, ours[WITH_MODEL], theirs)
    if torch.cuda.is_available():
        on_gpu(figures, speech, model, words)
    return figures


def compare(
    figures: dict[str, float],
    name: str,
    speech: Speech,
    ours: BeamDecoder,
    theirs: Callable[[np.ndarray], object],
) -> None:
    """Add frames a second of both, their ratio and the differences of their results to the figures."""
    work = batch(speech)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for round_number in range(ROUNDS + 1):
        started = time.perf_counter()
        found = ours.decode(*work)
        middle = time.perf_counter()
        others = [theirs(row) for row in speech.rows]
        if round_number:  # the first compiles and warms up
            times["ours"].append(middle - started)
            times["theirs"].append(time.perf_counter() - middle)
    seconds = {who: float(np.median(taken)) for who, taken in times.items()}
    figures[f"{name}_frames_per_second"] = speech.num_frames / seconds["ours"]
    figures[f"{name}_flashlight_frames_per_second"] = speech.num_frames / seconds["theirs"]
    figures[f"{name}_over_flashlight"] = seconds["theirs"] / seconds["ours"]
    for number, (row, hypothesis, other) in enumerate(zip(speech.rows, found, others)):
        difference = exact_score(row, hypothesis.tokens, ours) - exact_score(row, other.tokens, ours)
        figures["labelling_better"] += difference > TOLERANCE
        figures["labelling_worse"] += difference < -TOLERANCE
        if other.score > hypothesis.score + TOLERANCE:
            judged = judge(difference)
            figures["search_errors"] += 1
            figures[f"search_errors_{judged}"] += 1
            texts = [speech.tokenizer.decode(tokens) for tokens in (hypothesis.tokens, other.tokens)]
            print(
                f"{name}, utterance {number}: {judged}, {difference:+.3f} nats: {texts[0]!r} | {texts[1]!r}",
                file=sys.stderr,
            )


def judge(difference: float) -> str:
    """What a search error is, by how much more our labelling scores than theirs, all paths of both."""
    if abs(difference) <= TOLERANCE:
        return "tie"
    return "reference" if difference > 0 else "pruned"


def exact_score(row: np.ndarray, tokens: Sequence[int], decoder: BeamDecoder) -> float:
    """The score of a labelling by its definition."""
    log_probs, targets = torch.from_numpy(row)[None].double(), torch.tensor([list(tokens)], dtype=torch.int64)
    acoustic = -float(ctc_loss(log_probs, torch.tensor([len(row)]), targets, torch.tensor([len(tokens)])))
    return acoustic + sum(score_parts(decoder.tables, np.array(tokens, np.int64)))


# ---- a GPU ----------------------------------------------------------------------------------------------------------


def on_gpu(figures: dict[str, float], speech: Speech, model: NgramModel, words: Sequence[str]) -> None:
    """The search in tensors against torchaudio's CUDA decoder, at equal beams."""
    from torchaudio.models.decoder import cuda_ctc_decoder

    log_probs = pad_sequence([torch.from_numpy(row) for row in speech.rows], batch_first=True).cuda()
    lengths = torch.tensor([len(row) for row in speech.rows]).cuda()
    theirs = cuda_ctc_decoder(list(speech.tokenizer.vocab), nbest=1, beam_size=100)
    plain = BeamDecoder.build(speech.tokenizer, FRAME_SECONDS, beam_width=100)
    fused = BeamDecoder.build(
        speech.tokenizer, FRAME_SECONDS, beam_width=100, language_model=model, lm_weight=1.0, lexicon=words
    )
    ids = [str(number) for number in range(len(speech.rows))]
    taken = {
        "torchaudio": timed(lambda: theirs(log_probs, lengths.int())),
        "gpu_beam100": timed(lambda: plain.decode(log_probs, lengths, ids)),
        "gpu_beam100_4gram": timed(lambda: fused.decode(log_probs, lengths, ids)),
    }
    for name in ("gpu_beam100", "gpu_beam100_4gram"):
        figures[f"{name}_over_torchaudio"] = taken["torchaudio"] / taken[name]


def timed(work: Callable[[], object]) -> float:
    """The median of several runs, in seconds, after one to warm up."""
    seconds = []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))
