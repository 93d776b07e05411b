import base64
import io
import json
import os
import pickle
import re
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, TextError
from asr.text.lexicon import Lexicon
from asr.text.normalize import normalize
from asr.text.tokenizer import (
    BpeTokenizer,
    CharTokenizer,
    PhoneTokenizer,
    TokenSpan,
    load_tokenizer,
    tokenizer_from_json,
)

TEXTS = ("the cat sat on the mat", "the hat that the cat sat on", "don't eat the café's cheese", "nine ten then")
LETTERS = sorted(set("".join(TEXTS)) - {" "})
LEXICON = Lexicon({"read": (("r", "eh", "d"), ("r", "iy", "d")), "a": (("ax",),), "tea": (("t", "iy"),)})

CHARACTERS = CharTokenizer.train(TEXTS)
BPE = BpeTokenizer.train(TEXTS, vocab_size=30)
UNIGRAM = BpeTokenizer.train(TEXTS, vocab_size=24, algorithm="unigram")
PHONES = PhoneTokenizer.train(["h# sh iy h#", "ax t"])
LEXICAL = PhoneTokenizer.from_lexicon(LEXICON)
ALL = {"characters": CHARACTERS, "bpe": BPE, "unigram": UNIGRAM, "phones": PHONES, "lexical": LEXICAL}
every_kind = pytest.mark.parametrize("tokenizer", ALL.values(), ids=ALL.keys())


def test_characters_by_hand():
    tokenizer = CharTokenizer.train(["cab", "abba"])
    assert tokenizer.vocab == ("<blank>", " ", "a", "b", "c")
    assert (tokenizer.vocab_size, tokenizer.blank_id) == (5, 0)
    assert tokenizer.encode("a cab") == [2, 1, 4, 2, 3]
    assert tokenizer.decode([2, 1, 4, 2, 3]) == "a cab"
    assert tokenizer.split_words([2, 1, 4, 2, 3]) == [TokenSpan("a", 0, 1), TokenSpan("cab", 2, 5)]
    # A model may emit spaces anywhere; they belong to no word.
    assert tokenizer.split_words([1, 1, 2, 1, 1, 3, 1]) == [TokenSpan("a", 2, 3), TokenSpan("b", 5, 6)]
    assert tokenizer.decode([1, 1, 2, 1, 1, 3, 1]) == "a b"


def test_phones_by_hand():
    assert PHONES.vocab == ("<blank>", "ax", "h#", "iy", "sh", "t")
    assert PHONES.encode("h# sh iy") == [2, 4, 3]
    assert PHONES.decode([2, 4, 3]) == "h# sh iy"
    assert PHONES.split_words([2, 4]) == [TokenSpan("h#", 0, 1), TokenSpan("sh", 1, 2)]


def test_lexicon_gives_first_pronunciations():
    assert LEXICAL.vocab == ("<blank>", "ax", "d", "eh", "iy", "r", "t")
    assert LEXICAL.encode("read a tea") == [5, 3, 2, 1, 6, 4]
    assert LEXICAL.decode(LEXICAL.encode("read a tea")) == "r eh d ax t iy"


def test_bpe_words():
    ids = BPE.encode("the cat")
    assert BPE.vocab[0] == "<blank>"
    assert BPE.vocab_size == 30
    assert "▁the" in BPE.vocab  # the most frequent word of the texts
    assert BPE.split_words(ids) == [TokenSpan("the", 0, 1), TokenSpan("cat", 1, len(ids))]
    lone_space, t = BPE.vocab.index("▁"), BPE.vocab.index("t")
    assert BPE.split_words([lone_space, t, t, lone_space]) == [TokenSpan("tt", 1, 3)]
    assert BPE.split_words([t, BPE.vocab.index("▁the"), t]) == [TokenSpan("t", 0, 1), TokenSpan("thet", 1, 3)]


def test_surfaces_tell_word_boundaries():
    assert CHARACTERS.surfaces[:3] == ("", " ", "'")
    assert BPE.surfaces[BPE.vocab.index("▁the")] == " the"
    assert PHONES.surfaces == ("", " ax", " h#", " iy", " sh", " t")


WORDS = st.lists(st.text(st.sampled_from(LETTERS), min_size=1, max_size=8), max_size=8).map(" ".join)


@settings(deadline=None)
@given(text=WORDS)
def test_round_trip_of_any_text_in_the_alphabet(text):
    for tokenizer in (CHARACTERS, BPE, UNIGRAM):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert all(0 < token_id < tokenizer.vocab_size for token_id in ids)


@settings(deadline=None)
@given(text=st.text().map(normalize).filter(bool))
def test_round_trip_of_any_text_with_its_own_alphabet(text):
    tokenizer = CharTokenizer.train([text])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json()))) == tokenizer


@settings(deadline=None, max_examples=40)
@given(text=st.text().map(normalize).filter(lambda text: text and not set(text) & set("▁▅")))
def test_round_trip_of_any_text_as_bpe(text):
    smallest = len(set(text) - {" "}) + 2  # blank, ▁ and the characters: nothing is left to learn
    tokenizer = BpeTokenizer.train([text], vocab_size=smallest)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(deadline=None)
@given(numbers=st.lists(st.integers(0, 1000)), tokenizer=st.sampled_from(list(ALL.values())))
def test_words_cover_their_tokens(numbers, tokenizer):
    ids = [1 + number % (tokenizer.vocab_size - 1) for number in numbers]
    spans = tokenizer.split_words(ids)
    assert tokenizer.decode(ids) == " ".join(span.text for span in spans)
    covered = [position for span in spans for position in range(span.start, span.end)]
    assert covered == sorted(set(covered))  # in order, none twice
    assert {tokenizer.surfaces[ids[i]] for i in set(range(len(ids))) - set(covered)} <= {" "}
    for span in spans:
        surface = "".join(tokenizer.surfaces[i] for i in ids[span.start : span.end])
        assert surface.removeprefix(" ") == span.text


@every_kind
def test_empty_text(tokenizer):
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.split_words([]) == []


@every_kind
@pytest.mark.parametrize(
    ("ids", "message"),
    [([1, 0, 1], r"blank \(0\) at position 1"), ([1, 1, 99], "got 99 at position 2"), ([-1], "got -1 at position 0")],
)
def test_ids_that_are_no_text(tokenizer, ids, message):
    with pytest.raises(TextError, match=message):
        tokenizer.decode(ids)
    with pytest.raises(TextError, match=message):
        tokenizer.split_words(ids)


@pytest.mark.parametrize("tokenizer", [CHARACTERS, BPE, UNIGRAM])
def test_unknown_characters(tokenizer):
    with pytest.raises(TextError, match=r"'ß' \(U\+00DF LATIN SMALL LETTER SHARP S\) at position 7 of 'the cheßxß'"):
        tokenizer.encode("the cheßxß")
    assert tokenizer.unknown_symbols("the cheßxß▁") == ("ß", "x", "▁")
    assert tokenizer.unknown_symbols("the cat") == ()
    with pytest.raises(TextError, match="LOWER ONE EIGHTH BLOCK"):
        tokenizer.encode("the▁cat")  # SentencePiece's own space must not slip through as one
    with pytest.raises(TextError, match=re.escape("at position 2000 of '…" + "t" * 30 + "z" + "t" * 29 + "…'")):
        tokenizer.encode("t" * 2000 + "z" + "t" * 2000)


def test_words_without_a_pronunciation():
    with pytest.raises(TextError, match=r"lexicon \(3 words\), got 'zoo' in 'read zoo'; add it"):
        LEXICAL.encode("read zoo")
    with pytest.raises(TextError, match=r"got 'READ' in 'READ a'; it has 'read': give both the same case"):
        LEXICAL.encode("READ a")
    with pytest.raises(TextError, match="expected one of 5 phones, got 'zh' in 'sh zh'"):
        PHONES.encode("sh zh")
    assert LEXICAL.unknown_symbols("zoo read zebra zoo") == ("zoo", "zebra")


@every_kind
def test_values(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    tokenizer.encode("")
    for other in (
        load_tokenizer(tmp_path / "tokenizer.json"),
        tokenizer_from_json(tokenizer.to_json()),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert other == tokenizer
        assert hash(other) == hash(tokenizer)
        assert other.vocab == tokenizer.vocab
        assert other.encode("") == []
    assert len({*ALL.values(), tokenizer}) == len(ALL)
    assert len(repr(tokenizer)) < 300


def test_bpe_pickles_small():
    assert len(pickle.dumps(BPE)) < len(BPE.model) + 200


def test_bpe_is_deterministic_and_silent(capfd):
    for algorithm, tokenizer in (("bpe", BPE), ("unigram", UNIGRAM)):
        again = BpeTokenizer.train(iter(TEXTS), tokenizer.vocab_size, algorithm)
        assert again == tokenizer
    assert capfd.readouterr() == ("", "")


def test_bpe_learns_from_long_texts_too():
    """SentencePiece's default skips texts of more than 4192 bytes without a word."""
    tokenizer = BpeTokenizer.train(["ab", "z" * 5000], vocab_size=6)
    assert tokenizer.decode(tokenizer.encode("zzab")) == "zzab"


@pytest.mark.parametrize(
    ("texts", "vocab_size", "algorithm", "message"),
    [
        (["ab ab"], 500, "bpe", r"vocab_size: expected at most 7 for these texts \(bpe\), got 500"),
        (["ab ab"], 500, "unigram", r"vocab_size: expected at most 5 for these texts \(unigram\), got 500"),
        (["ab ab"], 3, "bpe", "vocab_size: expected at least 4 for the characters of these texts, got 3"),
        (["ab ab"], -1, "bpe", "vocab_size: expected at least 4"),
        ([], 10, "bpe", "no character but spaces"),
        (["", "  "], 10, "bpe", "no character but spaces"),
        (["a▅b"], 10, "bpe", "SentencePiece reserves, got .'▅'."),
        (["a▁b"], 10, "bpe", "SentencePiece reserves, got .'▁'."),
        (["a\tb"], 10, "bpe", r"'\\t' \(U\+0009 unnamed\); put texts through"),
    ],
)
def test_bpe_cannot_learn(texts, vocab_size, algorithm, message):
    with pytest.raises(TextError, match=message):
        BpeTokenizer.train(texts, vocab_size, algorithm)


def test_unknown_algorithm():
    with pytest.raises(ConfigError, match="'bpe' or 'unigram', got 'words'"):
        BpeTokenizer.train(TEXTS, 30, "words")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CharTokenizer.train([]), "no character but spaces"),
        (lambda: CharTokenizer.train(["a\u00a0b"]), "NO-BREAK SPACE.*normalize"),
        (lambda: CharTokenizer(("ab",)), "single characters, got 'ab'"),
        (lambda: CharTokenizer(("a", "a")), "'a' more than once"),
        (lambda: CharTokenizer(()), "at least one token"),
        (lambda: PhoneTokenizer.train([" "]), "texts of phones"),
        (lambda: PhoneTokenizer(None, ("a b",)), "without white space, got 'a b'"),
        (lambda: PhoneTokenizer(None, ("a", "<blank>")), "'<blank>' more than once"),
        (lambda: PhoneTokenizer(LEXICON, ("r", "eh", "d")), r"missing: \['ax', 'iy', 't'\]"),
        (lambda: BpeTokenizer(b""), "no bytes"),
        (lambda: BpeTokenizer(b"junk"), "not a SentencePiece model"),
        (lambda: BpeTokenizer(BPE.model.replace("é".encode(), b"\xc3\xff")), "not UTF-8"),
        (lambda: BpeTokenizer(BPE.model.replace(b"\n\x03\xe2\x96\x81", b"\n\x03xyz")), "spell each of its characters"),
        (lambda: BpeTokenizer(foreign_model()), "no control tokens, got '<s>'"),
        (
            lambda: BpeTokenizer(foreign_model(bos_id=-1, eos_id=-1, byte_fallback=True)),
            "no control tokens, got '<0x00>'",
        ),
        (lambda: BpeTokenizer(foreign_model(unk_id=1, bos_id=-1, eos_id=-1, pad_id=0)), "id 0 is the unknown token"),
        (lambda: BpeTokenizer(foreign_model(bos_id=-1, eos_id=-1, split_by_whitespace=False)), "one word each"),
    ],
)
def test_malformed_tokenizers(make, message):
    with pytest.raises(TextError, match=message):
        make()


def foreign_model(**options):
    """A model with SentencePiece's own defaults."""
    vocab_size = 22 + 256 * ("byte_fallback" in options)
    model = io.BytesIO()
    texts = iter(["of the cat", "of the hat", "of the"])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts, model_writer=model, model_type="bpe", vocab_size=vocab_size, minloglevel=2, **options
    )
    return model.getvalue()


def edited(tokenizer, **fields):
    return {key: value for key, value in {**tokenizer.to_json(), **fields}.items() if value is not ...}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a JSON object, got list"),
        ({}, "version: expected 1, got None"),
        (edited(CHARACTERS, version=2), "version: expected 1, got 2"),
        (edited(CHARACTERS, type="words"), "type: expected one of characters, bpe, phones, got 'words'"),
        (edited(CHARACTERS, type=["bpe"]), r"type: .*got \['bpe'\]"),
        (edited(CHARACTERS, _target_="os.system"), r"fields: expected .*got \['_target_'"),
        (edited(CHARACTERS, vocab=...), "fields: expected"),
        (edited(CHARACTERS, vocab="abc"), "vocab: expected a list of strings"),
        (edited(CHARACTERS, vocab=["<blank>", 1]), "vocab: expected a list of strings"),
        (edited(CHARACTERS, vocab=["a", "b"]), "vocab: expected '<blank>' first.*got .'a'."),
        (edited(CHARACTERS, vocab=[]), "vocab: expected '<blank>' first"),
        (edited(CHARACTERS, vocab=["<blank>"]), "vocab: expected at least one token"),
        (edited(CHARACTERS, vocab=["<blank>", "a", "b", "a"]), "vocab: .*'a' more than once"),
        (edited(CHARACTERS, vocab=["<blank>", "a", ""]), "vocab: .*none of them empty, got ''"),
        (edited(CHARACTERS, vocab=["<blank>", "\ud800"]), "vocab: .*U.D800"),
        (edited(BPE, model=7), "model: .*base64, got int"),
        (edited(BPE, model="AAA"), "model: damaged base64"),
        (edited(BPE, model="!" + BPE.to_json()["model"]), "model: damaged base64"),
        (edited(BPE, model=base64.b64encode(BPE.model[:-1]).decode()), "model: damaged, its SHA-256"),
        (edited(BPE, sha256=None), "model: damaged, its SHA-256"),
        ({**UNIGRAM.to_json(), "vocab": list(BPE.vocab)}, "model: its pieces differ from vocab"),
        (edited(BPE, vocab=[*BPE.vocab[:-1], "z"]), "model: its pieces differ from vocab"),
        (edited(PHONES, lexicon=[]), "lexicon: expected null or an object of words, got list"),
        (edited(LEXICAL, lexicon={"a": "ax"}), "lexicon: expected a list of strings of phones for 'a'"),
        (edited(LEXICAL, lexicon={"a": [""]}), "lexicon: expected one phone or more"),
        (edited(LEXICAL, lexicon={"a": ["zh"]}), r"vocab: .*missing: \['zh'\]"),
    ],
)
def test_malformed_json(content, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    with pytest.raises(TextError, match=rf"^{re.escape(str(path))}: {message}"):
        load_tokenizer(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "in JSON"), (b'{"type":', "in JSON"), (b'"\xff"', "in JSON"), (b"[" * 200_000, "in JSON")],
)
def test_files_that_are_no_json(content, message, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(TextError, match=rf"tokenizer\.json: expected a tokenizer {message}"):
        load_tokenizer(path)


def test_missing_file(tmp_path):
    with pytest.raises(TextError, match=r"tokenizer\.json: cannot read the tokenizer: No such file"):
        load_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.skipif("ASR_DATA" not in os.environ, reason="real transcripts: set ASR_DATA")
def test_real_transcripts():
    folder = Path(os.environ["ASR_DATA"])
    lines = [*folder.glob("librispeech-*.jsonl"), folder / "multilingual-samples.jsonl"]
    texts = [normalize(json.loads(line)["text"]) for path in lines for line in path.read_text("utf-8").splitlines()]
    assert len(texts) > 1000
    for tokenizer in (CharTokenizer.train(texts), BpeTokenizer.train(texts, vocab_size=500)):
        for text in texts:
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text
            assert [span.text for span in tokenizer.split_words(ids)] == text.split()
