"""`asr lm train`: text -> language model."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asr.cli.lm_common import Report, Texts, TokenizerPath, TokenSentences, load_tokenizer, progress_bar

if TYPE_CHECKING:
    from asr.ngram.tables import NgramTables

ARPA_SUFFIXES = (".arpa", ".arpa.gz", ".arpa.bz2", ".arpa.xz", ".arpa.zst")
COMPILED_SUFFIX = ".lm"
DEFAULT_ORDER = 4
OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@]*=.*", re.DOTALL)

NGRAM_PANEL, RECURRENT_PANEL = "N-grams", "Recurrent"


def train(
    texts: Texts,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="NAME.arpa, also .gz, .bz2, .xz or .zst; NAME.lm, compiled; of a recurrent model: its run directory.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        Literal["ngram", "recurrent"], typer.Option("--type", help="A back-off model or a neural one.")
    ] = "ngram",
    tokenizer: TokenizerPath = None,
    order: Annotated[
        int | None,
        typer.Option(
            min=1, help="The longest n-gram's length.", show_default=str(DEFAULT_ORDER), rich_help_panel=NGRAM_PANEL
        ),
    ] = None,
    prune: Annotated[
        str | None,
        typer.Option(
            metavar="'N N …'",
            help="For each order from 1: drop n-grams that occur so often or less. The last holds for higher orders.",
            show_default=False,
            rich_help_panel=NGRAM_PANEL,
        ),
    ] = None,
    vocab_limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Keep this many words, the most frequent; the others are <unk>.",
            show_default=False,
            rich_help_panel=NGRAM_PANEL,
        ),
    ] = None,
    discount_fallback: Annotated[
        bool,
        typer.Option(
            "--discount-fallback",
            help="For texts too small or too regular to estimate discounts from: take 0.5, 1 and 1.5.",
            rich_help_panel=NGRAM_PANEL,
        ),
    ] = False,
    dev: Annotated[
        list[Path] | None,
        typer.Option(
            help="Text to stop by. Without it: a part of TEXT.", show_default=False, rich_help_panel=RECURRENT_PANEL
        ),
    ] = None,
) -> None:
    """Train a language model on text: n-grams by interpolated modified Kneser-Ney smoothing, or a recurrent network.

    After the texts of a recurrent model come its options as key=value (asr/language_config.py has them all).

    [bold]Examples[/]

        asr lm train books.txt.xz --order 4 --prune "0 0 1 1" --vocab-limit 200000 -o books.lm

        asr lm train books.txt.xz --order 6 --tokenizer runs/mini_english/model --discount-fallback -o chars.arpa.gz

        asr lm train books.txt.xz --type recurrent -o runs/books-lm training.epochs=3
    """
    if kind == "recurrent":
        refuse(
            "--type recurrent", order=order, prune=prune, vocab_limit=vocab_limit, discount_fallback=discount_fallback
        )
        train_recurrent(texts, dev or [], output, tokenizer)
        return
    refuse("--type ngram", dev=dev)
    check_output(output)
    refuse_inputs(output, texts, tokenizer)
    thresholds = parse_prune(prune)
    with progress_bar() as report:
        if tokenizer is None:
            from asr.ngram.kneser_ney import estimate

            tables = estimate(
                texts,
                order or DEFAULT_ORDER,
                min_counts=thresholds,
                vocab_limit=vocab_limit,
                discount_fallback=discount_fallback,
                on_progress=report,
            )
        else:
            refuse("--tokenizer, whose tokens are the vocabulary", vocab_limit=vocab_limit)
            tables = estimate_tokens(texts, tokenizer, order or DEFAULT_ORDER, thresholds, discount_fallback, report)
        write_model(output, tables, report)
    counts = ", ".join(f"{len(table.words):,} {n}-grams" for n, table in enumerate(tables.orders, start=1))
    typer.echo(f"written: {output} ({counts})")


def train_recurrent(texts: list[Path], dev: list[Path], output: Path, tokenizer: Path | None) -> None:
    """Tell options from texts, and train."""
    from asr.cli.lm_recurrent import train_recurrent

    refuse_inputs(output, [*texts, *dev], tokenizer)
    overrides = [str(text) for text in texts if OVERRIDE.fullmatch(str(text))]
    if tokenizer is not None:
        quoted = str(tokenizer).replace("\\", "\\\\").replace("'", "\\'")
        overrides.append(f"tokenizer='{quoted}'")
    model = train_recurrent([text for text in texts if not OVERRIDE.fullmatch(str(text))], dev, output, overrides)
    typer.echo(f"written: {model}")


def estimate_tokens(
    texts: list[Path],
    tokenizer: Path,
    order: int,
    thresholds: list[int],
    discount_fallback: bool,
    report: Report,
) -> "NgramTables":
    """Estimate a model over a tokenizer's tokens."""
    from asr.ngram.kneser_ney import estimate_from_corpus

    sentences = TokenSentences(texts, load_tokenizer(tokenizer))
    report("reading", None)
    corpus = sentences.corpus()
    sentences.warn()
    return estimate_from_corpus(
        corpus, order, min_counts=thresholds, discount_fallback=discount_fallback, on_progress=report
    )


def write_model(output: Path, tables: "NgramTables", report: Report) -> None:
    """Write ARPA or compile, as the name says."""
    if output.name.endswith(COMPILED_SUFFIX):
        from asr.ngram.model import NgramModel

        report("compiling", None)
        NgramModel.from_tables(tables).save(output)
    else:
        from asr.ngram.arpa_writer import write_arpa

        write_arpa(output, tables, on_progress=lambda share: report("writing", share))


def refuse_inputs(output: Path, texts: list[Path], tokenizer: Path | None) -> None:
    """Refuse to write the model over what it is made from."""
    from asr.files import refuse_same_file

    refuse_same_file(output, [*texts, *([tokenizer, tokenizer / "tokenizer.json"] if tokenizer else [])])


def check_output(output: Path) -> None:
    """Refuse a name that tells no format."""
    from asr.errors import ConfigError

    if not output.name.endswith((*ARPA_SUFFIXES, COMPILED_SUFFIX)):
        expected = ", ".join((*ARPA_SUFFIXES, COMPILED_SUFFIX))
        raise ConfigError(f"-o: expected a name that ends in one of {expected}, got {output.name!r}")


def parse_prune(prune: str | None) -> list[int]:
    """The thresholds of `--prune`."""
    from asr.errors import ConfigError

    if prune is None:
        return [0]
    try:
        return [int(threshold) for threshold in re.split(r"[\s,]+", prune.strip())]
    except ValueError:
        raise ConfigError(f"--prune: expected numbers with spaces between, such as '0 0 1 1', got {prune!r}") from None


def refuse(because: str, **options: object) -> None:
    """Raise `ConfigError` for options that were given and would do nothing."""
    from asr.errors import ConfigError

    for name, value in options.items():
        if value:
            raise ConfigError(f"--{name.replace('_', '-')} does nothing with {because}; leave one of them out")
