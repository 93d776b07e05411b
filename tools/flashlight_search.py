"""The searches of flashlight-text, as the benchmark of decoding compares with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from decoding_inputs import LM_WEIGHT, WORD_BONUS

from asr.ctc import collapse
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

NO_THRESHOLD = 1e9  # flashlight's own pruning by score, off: only the beam's width limits both


@dataclass(frozen=True)
class Found:
    """What flashlight says of an utterance."""

    tokens: list[int]
    score: float


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
