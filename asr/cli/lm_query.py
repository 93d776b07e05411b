"""`asr lm compile`, `asr lm query`, `asr lm perplexity`: n-gram models in other forms, and what they say of texts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.lm_common import Texts, TokenizerPath, TokenSentences, load_tokenizer, progress_bar

if TYPE_CHECKING:
    from asr.ngram.model import NgramModel
    from asr.ngram.perplexity import TextScore

LN_10 = 2.302585092994046
BYTES_PER_MB = 1e6

Model = Annotated[Path, typer.Argument(help="ARPA, also compressed, or compiled.", show_default=False)]


def compile_model(
    arpa: Annotated[Path, typer.Argument(help="ARPA, plain, .gz, .bz2, .xz or .zst.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Such as NAME.lm.", show_default=False)],
) -> None:
    """Turn an ARPA file, of KenLM, SRILM or `asr lm train`, into a file that loads at once.

    [bold]Examples[/]

        asr lm compile books.arpa.gz -o books.lm
    """
    from asr.errors import ConfigError
    from asr.files import refuse_same_file
    from asr.ngram.arpa_reader import read_arpa
    from asr.ngram.model import NgramModel
    from asr.ngram.model_file import is_model_file

    refuse_same_file(output, [arpa])
    if arpa.is_file() and is_model_file(arpa):
        raise ConfigError(f"{arpa} is compiled already; copy it")
    with progress_bar() as report:
        tables = read_arpa(arpa, lambda share: report("reading", share))
        report("compiling", None)
        model = NgramModel.from_tables(tables)
        model.save(output)
    counts = ", ".join(f"{count:,} {order}-grams" for order, count in enumerate(model.num_ngrams, start=1))
    typer.echo(f"written: {output} ({counts}, {output.stat().st_size / BYTES_PER_MB:.1f} MB)")


def query(
    model: Model,
    sentences: Annotated[
        Path, typer.Option(help="One a line; plain or compressed; - is standard input.", show_default="-")
    ] = Path("-"),
) -> None:
    """Print what a model says of each word of sentences, and totals, as KenLM's query does.

    A line a word, with tabs between: the word, the length of the n-gram that was found, log10 of its probability, and
    OOV if the vocabulary lacks it. Each sentence is scored with its begin and its end.

    [bold]Examples[/]

        echo "the cat sat" | asr lm query books.lm

        asr lm query books.arpa.gz --sentences dev.txt
    """
    import numpy as np

    from asr.ngram.perplexity import TextScore, text_score
    from asr.ngram.tables import END, END_ID, UNKNOWN_ID

    asked = load(model)
    total = TextScore()
    for words in plain_sentences(sentences):
        ids = np.array([*map(asked.word_id, words), END_ID], dtype=np.int32)
        scores = asked.score_ids(ids)
        for word, word_id, length, log_prob in zip([*words, END], ids, scores.ngram_lengths, scores.log_probs):
            mark = "\tOOV" if word_id == UNKNOWN_ID else ""
            sys.stdout.write(f"{word}\t{length}\t{log_prob / LN_10:.6f}{mark}\n")
        summed = text_score(ids, scores)
        sys.stdout.write(f"Total: {summed.log_prob / LN_10:.6f} OOV: {summed.num_oovs}\n")
        total = total + summed
    sys.stdout.write(
        f"Perplexity including OOVs:\t{total.perplexity:.4f}\n"
        f"Perplexity excluding OOVs:\t{total.perplexity_without_oovs:.4f}\n"
        f"OOVs:\t{total.num_oovs}\n"
        f"Tokens:\t{total.num_tokens}\n"
    )


def perplexity(model: Model, texts: Texts, tokenizer: TokenizerPath = None) -> None:
    """Print how well a model predicts texts: perplexity, and the share of words that its vocabulary lacks (OOVs).

    The end of each sentence counts as a word in the perplexity. With OOVs it has the probability of <unk> for each of
    them, so that only models of the same vocabulary can be compared by it.

    [bold]Examples[/]

        asr lm perplexity books.lm dev.txt test.txt.gz

        asr lm perplexity characters.lm dev.txt --tokenizer runs/mini_english/model
    """
    from rich.console import Console
    from rich.table import Column, Table

    from asr.ngram.perplexity import TextScore

    asked = load(model)
    scores = {str(text): score_text(asked, text, tokenizer) for text in texts}
    if len(scores) > 1:
        scores["all"] = sum(scores.values(), start=TextScore())
    table = Table(Column("text", overflow="fold"), box=None, pad_edge=False)
    for column in ("sentences", "words", "OOVs", "OOV rate", "perplexity", "without OOVs"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, score in scores.items():
        table.add_row(
            name,
            f"{score.num_sentences:,}",
            f"{score.num_words:,}",
            f"{score.num_oovs:,}",
            f"{score.oov_rate:.2%}",
            f"{score.perplexity:.2f}",
            f"{score.perplexity_without_oovs:.2f}",
        )
    Console().print(table)


def load(path: Path) -> "NgramModel":
    """Load a model with a bar."""
    from asr.ngram.model import load_ngram

    with progress_bar() as report:
        return load_ngram(path, lambda share: report("reading", share))


def plain_sentences(path: Path) -> Iterator[list[str]]:
    """The words of each line; raises `TextError` for marks of begin and end, which are added to each line."""
    from asr.errors import TextError
    from asr.ngram.compression import source_name
    from asr.ngram.tables import BEGIN, END
    from asr.ngram.text import read_lines, split_words

    for number, line in enumerate(read_lines([path]), start=1):
        words = split_words(line)
        if BEGIN in words or END in words:
            raise TextError(
                f"{source_name(path)}:{number}: expected sentences without {BEGIN} and {END}, which are added: {line!r}"
            )
        yield words


def score_text(model: "NgramModel", text: Path, tokenizer: Path | None) -> "TextScore":
    """Score a text whose lines are sentences of words, or are to be made sentences of tokens."""
    from asr.ngram.perplexity import text_score
    from asr.ngram.tables import BEGIN_ID, SPECIAL_WORDS
    from asr.ngram.text import encode_sentences, read_corpus

    vocabulary = model.vocab[len(SPECIAL_WORDS) :]
    with progress_bar() as report:
        if tokenizer is None:
            corpus = read_corpus([text], vocabulary=vocabulary, on_progress=lambda share: report("reading", share))
        else:
            report("reading", None)
            sentences = TokenSentences([text], load_tokenizer(tokenizer))
            corpus = encode_sentences(sentences, vocabulary=vocabulary)
            sentences.warn()
        ids = corpus.ids[corpus.ids != BEGIN_ID]
        return text_score(ids, model.score_ids(ids))
