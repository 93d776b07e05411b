"""What the commands of `asr lm` share."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asr.ngram.text import Corpus
    from asr.text.tokens import Tokenizer

SYMBOLS_SHOWN = 5

Texts = Annotated[
    list[Path],
    typer.Argument(help="One sentence a line; plain, .gz, .bz2, .xz or .zst; - is standard input.", show_default=False),
]
TokenizerPath = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        help="A model directory or its tokenizer.json: the language model is over its tokens instead of words.",
        show_default=False,
    ),
]
Report = Callable[[str, float | None], None]  # the step, and the share of the work that is done if it is known


@contextmanager
def progress_bar() -> Iterator[Report]:
    """A bar on standard error, when that is a terminal; gives what is to be called with the progress made."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def report(step: str, share: float | None) -> None:
            total = None if share is None else 1.0
            if not bar.tasks or bar.tasks[0].total != total:  # a task cannot go back to an unknown total
                for task_id in bar.task_ids:
                    bar.remove_task(task_id)
                bar.add_task(step, total=total)
            bar.update(bar.task_ids[0], description=step, completed=share or 0.0)

        yield report


def load_tokenizer(path: Path) -> "Tokenizer":
    """The tokenizer of a model directory, or of a tokenizer.json."""
    from asr.model_directory import find_model
    from asr.text.tokenizer import load_tokenizer

    return load_tokenizer(find_model(path) / "tokenizer.json" if path.is_dir() else path)


@dataclass
class TokenSentences:
    """The lines of texts as tokens with spaces between. Lines that the tokenizer cannot spell are left out."""

    texts: list[Path]
    tokenizer: "Tokenizer"
    num_left_out: int = 0
    unknown_symbols: Counter[str] = field(default_factory=Counter)  # and in how many lines each was

    def __iter__(self) -> Iterator[str]:
        from asr.errors import TextError
        from asr.ngram.text import read_lines
        from asr.text.lm_symbols import lm_symbols

        symbols = lm_symbols(self.tokenizer)
        num_spelt = 0
        for line in read_lines(self.texts):
            text = " ".join(line.split())
            try:
                tokens = self.tokenizer.encode(text)
            except TextError:
                self.num_left_out += 1
                self.unknown_symbols.update(self.tokenizer.unknown_symbols(text))
            else:
                num_spelt += bool(tokens)
                yield " ".join([symbols[token] for token in tokens])
        if self.num_left_out and not num_spelt:
            raise TextError(
                f"expected text that the tokenizer can spell; none of {self.num_left_out} lines is: "
                f"it does not know {self._examples()}. Is the text in another case?"
            )

    def corpus(self) -> "Corpus":
        """All lines in numbers. The vocabulary is that of the tokenizer, also what no line has."""
        from asr.ngram.text import encode_sentences
        from asr.text.lm_symbols import lm_symbols

        return encode_sentences(self, vocabulary=lm_symbols(self.tokenizer)[1:])  # no text has the blank

    def warn(self) -> None:
        """Say what was left out."""
        from rich.console import Console
        from rich.markup import escape

        if self.num_left_out:
            Console(stderr=True).print(
                f"[yellow]warning:[/] left out {self.num_left_out} lines with what the tokenizer does not know, "
                f"most often {escape(self._examples())}",
                highlight=False,
                soft_wrap=True,
            )

    def _examples(self) -> str:
        return ", ".join(repr(symbol) for symbol, _ in self.unknown_symbols.most_common(SYMBOLS_SHOWN))
