"""`asr lm`: language models, trained, compiled and asked."""

import typer

from asr.cli.lm_query import compile_model, perplexity, query
from asr.cli.lm_train import train

app = typer.Typer(
    name="lm",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train language models, compile them for quick loading, and look at what they know.",
)
app.command()(train)
app.command("compile")(compile_model)
app.command()(query)
app.command()(perplexity)
