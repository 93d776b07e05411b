"""The beam search against flashlight-text, on the same log-probabilities, in the same run.

Real log-probabilities come from `asr evaluate --save-log-probs` (`--emissions FILE`), a real word 4-gram from
`asr lm train` (`--lm FILE`, ARPA); without them both are made up, alike for everyone. Ours uses all threads, flashlight
has one. Each takes its turn several times; the ratio is that of the medians.

A search error is an utterance for which flashlight found a better score than ours, each by its own account: the paths
that its search summed up. `labelling_better` and `labelling_worse` count the utterances for which our labelling is
better or worse than theirs by the definition, all paths of each: neither beam holds them all.
"""

import gzip
import lzma
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from asr.ctc import collapse, ctc_loss
from asr.decoding.beam import BeamDecoder
from asr.decoding.labelling_scores import score_parts
from asr.emissions import load_emissions
from asr.ngram.arpa_writer import write_arpa
from asr.ngram.kneser_ney import estimate
from asr.ngram.model import NgramModel, load_ngram
from asr.text.tokenizer import CharTokenizer

try:
    from flashlight.lib.text.decoder import (
        CriterionType,
        KenLM,
        LexiconDecoder,
        LexiconDecoderOptions,
        LexiconFreeDecoder,
        LexiconFreeDecoderOptions,
        SmearingMode,
        Trie,
        ZeroLM,
    )
    from flashlight.lib.text.dictionary import Dictionary
except ImportError as error:  # it has no wheel for Python 3.13
    raise SystemExit(f"this benchmark compares with flashlight-text, which is not installed: {error}") from error

BATCH, ROUNDS = 32, 3
FRAME_SECONDS = 0.03
LM_WEIGHT, WORD_BONUS = 1.0, 1.0
NO_THRESHOLD = 1e9  # flashlight's own pruning by score, off: only the beam's width limits both
TOLERANCE = 1e-2  # of scores: flashlight's emissions and sums are float32


@dataclass(frozen=True)
class Found:
    """What flashlight says of an utterance."""

    tokens: list[int]
    score: float


@dataclass(frozen=True)
class Speech:
    """A batch and its tokenizer."""

    tokenizer: CharTokenizer
    rows: list[np.ndarray]  # (T, V) float32 each

    @property
    def num_frames(self) -> int:
        return sum(map(len, self.rows))


def run(emissions: Path | None = None, lm: Path | None = None) -> dict[str, float]:
    torch.set_num_threads(min(4, torch.get_num_threads()))
    with tempfile.TemporaryDirectory() as folder:
        texts = made_up_texts() if emissions is None or lm is None else []
        speech = made_up_speech(texts[:BATCH]) if emissions is None else real_speech(emissions)
        arpa = made_up_model(texts, Path(folder)) if lm is None else unpacked(lm, Path(folder))
        figures = {"threads": float(torch.get_num_threads()), "frames": float(speech.num_frames)}
        figures |= dict.fromkeys(("search_errors", "labelling_better", "labelling_worse"), 0.0)
        for beam_width in (16, 100):
            ours = BeamDecoder.build(speech.tokenizer, FRAME_SECONDS, beam_width=beam_width)
            theirs = lexicon_free(speech.tokenizer, beam_width)
            compare(figures, f"beam{beam_width}", speech, ours, theirs)
        model = load_ngram(arpa)
        words = [word for word in model.vocab[3:] if not speech.tokenizer.unknown_symbols(word)]
        ours = BeamDecoder.build(
            speech.tokenizer,
            FRAME_SECONDS,
            beam_width=100,
            language_model=model,
            lm_weight=LM_WEIGHT,
            word_bonus=WORD_BONUS,
            lexicon=words,
        )
        theirs = with_lexicon(speech.tokenizer, words, arpa, beam_width=100)
        compare(figures, "beam100_4gram", speech, ours, theirs)
        if torch.cuda.is_available():
            on_gpu(figures, speech, model, words)
    return figures


def compare(
    figures: dict[str, float],
    name: str,
    speech: Speech,
    ours: BeamDecoder,
    theirs: Callable[[np.ndarray], "Found"],
) -> None:
    """Add frames a second of both, their ratio and the differences of their results to the figures."""
    log_probs = pad_sequence([torch.from_numpy(row) for row in speech.rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in speech.rows])
    ids = [str(number) for number in range(len(speech.rows))]
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for round_number in range(ROUNDS + 1):
        started = time.perf_counter()
        found = ours.decode(log_probs, lengths, ids)
        middle = time.perf_counter()
        others = [theirs(row) for row in speech.rows]
        if round_number:  # the first compiles and warms up
            times["ours"].append(middle - started)
            times["theirs"].append(time.perf_counter() - middle)
    seconds = {who: float(np.median(taken)) for who, taken in times.items()}
    figures[f"{name}_frames_per_second"] = speech.num_frames / seconds["ours"]
    figures[f"{name}_flashlight_frames_per_second"] = speech.num_frames / seconds["theirs"]
    figures[f"{name}_over_flashlight"] = seconds["theirs"] / seconds["ours"]
    for row, hypothesis, other in zip(speech.rows, found, others):
        figures["search_errors"] += other.score > hypothesis.score + TOLERANCE
        difference = exact_score(row, hypothesis.tokens, ours) - exact_score(row, other.tokens, ours)
        figures["labelling_better"] += difference > TOLERANCE
        figures["labelling_worse"] += difference < -TOLERANCE


def exact_score(row: np.ndarray, tokens: Sequence[int], decoder: BeamDecoder) -> float:
    """The score of a labelling by its definition."""
    log_probs, targets = torch.from_numpy(row)[None].double(), torch.tensor([list(tokens)], dtype=torch.int64)
    acoustic = -float(ctc_loss(log_probs, torch.tensor([len(row)]), targets, torch.tensor([len(tokens)])))
    return acoustic + sum(score_parts(decoder.tables, np.array(tokens, np.int64)))


# ---- flashlight -----------------------------------------------------------------------------------------------------


def lexicon_free(tokenizer: CharTokenizer, beam_width: int) -> Callable[[np.ndarray], Found]:
    options = LexiconFreeDecoderOptions(
        beam_size=beam_width,
        beam_size_token=tokenizer.vocab_size,
        beam_threshold=NO_THRESHOLD,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=CriterionType.CTC,
    )
    space = tokenizer.encode("a b")[1]
    decoder = LexiconFreeDecoder(options, ZeroLM(), space, tokenizer.blank_id, [])
    return lambda row: best_found(decoder, row)


def with_lexicon(
    tokenizer: CharTokenizer, words: Sequence[str], arpa: Path, beam_width: int
) -> Callable[[np.ndarray], Found]:
    options = LexiconDecoderOptions(
        beam_size=beam_width,
        beam_size_token=tokenizer.vocab_size,
        beam_threshold=NO_THRESHOLD,
        lm_weight=LM_WEIGHT * np.log(10),  # its KenLM gives base-10 logarithms
        word_score=WORD_BONUS,
        unk_score=-np.inf,
        sil_score=0.0,
        log_add=True,
        criterion_type=CriterionType.CTC,
    )
    dictionary = Dictionary()
    for word in words:
        dictionary.add_entry(word)
    dictionary.add_entry("<unk>")
    kenlm = KenLM(str(arpa), dictionary)
    space = tokenizer.encode("a b")[1]
    trie = Trie(tokenizer.vocab_size, space)
    start = kenlm.start(start_with_nothing=False)
    for word in words:
        index = dictionary.get_index(word)
        trie.insert([*tokenizer.encode(word), space], index, kenlm.score(start, index)[1])
    trie.smear(SmearingMode.MAX)
    unknown = dictionary.get_index("<unk>")
    decoder = LexiconDecoder(options, trie, kenlm, space, tokenizer.blank_id, unknown, [], False)
    return lambda row: without_last_space(best_found(decoder, row), space)


def without_last_space(found: Found, space: int) -> Found:
    """Its lexicon ends every word with a space, also the last: ours counts as the same text without it."""
    return Found(found.tokens[:-1], found.score) if found.tokens[-1:] == [space] else found


def best_found(decoder: LexiconDecoder | LexiconFreeDecoder, row: np.ndarray) -> Found:
    best = decoder.decode(row.ctypes.data, row.shape[0], row.shape[1])[0]
    return Found(collapse(best.tokens[1:-1]), best.score)  # the first and the last are its own silence


# ---- what is decoded ------------------------------------------------------------------------------------------------


def real_speech(path: Path) -> Speech:
    """The middle of a file of log-probabilities."""
    table = load_emissions(path)
    rows = np.split(table.log_probs.astype(np.float32), np.cumsum(table.lengths)[:-1])
    first = max(0, (len(rows) - BATCH) // 2)
    return Speech(CharTokenizer(table.tokens[1:]), rows[first : first + BATCH])


def made_up_texts(num_texts: int = 3000) -> list[str]:
    """Sentences of made-up words whose frequencies follow Zipf, each word leading to some others more than to most."""
    rng = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlucmfwypvbgkqjxz"))
    weights = 1.0 / np.arange(1, len(letters) + 1)
    lengths = rng.integers(1, 10, 5000)
    vocabulary = sorted({"".join(rng.choice(letters, n, p=weights / weights.sum())) for n in lengths})
    rng.shuffle(vocabulary)
    zipf = 1.0 / np.arange(1, len(vocabulary) + 1)
    likely = rng.integers(0, 200, (len(vocabulary), 8))
    texts = []
    for _ in range(num_texts):
        word, words = int(rng.choice(len(vocabulary), p=zipf / zipf.sum())), []
        for _ in range(int(rng.integers(8, 25))):
            words.append(vocabulary[word])
            follows = rng.random() < 0.6
            word = int(likely[word, rng.integers(8)] if follows else rng.choice(len(vocabulary), p=zipf / zipf.sum()))
        texts.append(" ".join(words))
    return texts


def made_up_speech(texts: Sequence[str]) -> Speech:
    """What a fair CTC model gives: peaks two frames apart on average, some of them wrong, blanks in between."""
    rng = np.random.default_rng(2)
    tokenizer = CharTokenizer(tuple(" 'abcdefghijklmnopqrstuvwxyz"))
    rows = []
    for text in texts:
        labels = []
        for token in tokenizer.encode(text):
            labels += [0] * int(rng.integers(1, 4)) + [token]
        logits = rng.normal(0.0, 2.0, (len(labels), tokenizer.vocab_size))
        logits[np.arange(len(labels)), labels] += rng.normal(8.0, 3.0, len(labels))
        logits[:, 0] += 2.0
        rows.append(torch.from_numpy(logits).log_softmax(-1).float().numpy())
    return Speech(tokenizer, rows)


def made_up_model(texts: Sequence[str], folder: Path) -> Path:
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    tables = estimate([folder / "texts.txt"], 4, discount_fallback=True)
    write_arpa(folder / "lm.arpa", tables)
    return folder / "lm.arpa"


def unpacked(arpa: Path, folder: Path) -> Path:
    """KenLM in flashlight reads plain files."""
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(arpa.suffix)
    if opener is None:
        return arpa
    plain = folder / "lm.arpa"
    with opener(arpa, "rb") as packed, plain.open("wb") as file:
        while block := packed.read(1 << 24):
            file.write(block)
    return plain


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
