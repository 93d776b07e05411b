"""`asr`: the console command. Heavy imports wait until a command runs, so that help answers at once."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from asr import __version__
from asr.cli.align import align
from asr.cli.calibrate import calibrate
from asr.cli.check import check
from asr.cli.compare import compare
from asr.cli.data import app as data
from asr.cli.evaluate import evaluate
from asr.cli.inspect import inspect
from asr.cli.lm import app as lm
from asr.cli.prepare import prepare
from asr.cli.report import report
from asr.cli.run import run
from asr.cli.score import score
from asr.cli.standard_output import forgive_closed_pipes
from asr.cli.train import train
from asr.cli.transcribe import transcribe
from asr.cli.tune import tune
from asr.errors import AsrError, Interrupted

INTERRUPTED = 130  # what shells report of a command that Ctrl-C ended

app = typer.Typer(
    name="asr",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Speech recognition with deep bidirectional LSTMs and CTC.\n\n"
    "Begin with [bold]asr run digits[/], then [bold]asr transcribe FILE --model runs/digits/model[/].",
)
# What follows the command goes to Hydra: key=value, +recipe=…, -m, --cfg job.

RECIPES, EVALUATION, USE, DATA = "Recipes and training", "Evaluation", "Use and tuning", "Data"

app.command(rich_help_panel=RECIPES)(run)
app.command(rich_help_panel=RECIPES)(prepare)
app.command(rich_help_panel=RECIPES)(train)
app.command(rich_help_panel=EVALUATION)(evaluate)
app.command(rich_help_panel=EVALUATION)(score)
app.command(rich_help_panel=EVALUATION)(compare)
app.command(rich_help_panel=EVALUATION)(report)
app.command(rich_help_panel=USE)(transcribe)
app.command(rich_help_panel=USE)(align)
app.command(rich_help_panel=USE)(tune)
app.command(rich_help_panel=USE)(calibrate)
app.command(rich_help_panel=USE)(inspect)
app.add_typer(lm, rich_help_panel=USE)
app.command(rich_help_panel=DATA)(check)
app.add_typer(data, rich_help_panel=DATA)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line; errors that a user can mend are printed without a traceback."""
    forgive_closed_pipes()
    try:
        app(prog_name="asr")
    except Interrupted as error:
        Console(stderr=True).print(str(error), highlight=False)
        sys.exit(INTERRUPTED)
    except AsrError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except SystemExit as stop:  # Typer makes this of Ctrl-C, and says nothing
        if stop.code == INTERRUPTED:
            Console(stderr=True).print("interrupted")
        raise
