"""The README.md of a model directory: what the model is, how well it does, and the command that made it."""

from collections.abc import Mapping
from typing import Any

from asr.config import Config
from asr.training.dev_figures import WHOLE
from asr.training.run_directory import command, commit, cpu_name

ROWS = ("wer", "cer")


def model_card(config: Config, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The card's text. results: name of a set -> its figures as in score.json, `wer` and `cer` at least.

    Sets that are called `dev`, or `dev: NAME`, are those that chose the weights.
    """
    model = config.model
    direction = "bidirectional" if model.bidirectional else "one-directional"
    lines = [
        f"# {config.recipe}: {direction} {model.cell}, {model.num_layers} × {model.hidden_size}, CTC",
        "",
        f"Trained by `{command()}`" + (f" at commit `{commit()}`" if commit() else "") + f", seed {config.seed}.",
        f"Training data: {', '.join(f'`{path}`' for path in config.data.train)} ({config.data.name}).",
        "",
        "| set | WER % | CER % | utterances | 95 % interval |",
        "|---|---|---|---|---|",
        *(_row(name, result) for name, result in results.items()),
        "",
        "`dev` chose the weights: it flatters. The other sets had no part in training." if _has_both(results) else "",
        f"Figures from a machine with {cpu_name()}.",
        "",
        "## Use",
        "",
        "```",
        "asr transcribe recording.wav --model PATH_OF_THIS_DIRECTORY",
        "```",
        "",
        f"Audio is resampled to {config.data.sample_rate} Hz. The text is {config.text.case} case, "
        f"in {config.text.tokenizer} tokens.",
        "",
    ]
    return "\n".join(lines)


def _has_both(results: Mapping[str, Any]) -> bool:
    return len({_is_dev(name) for name in results}) == 2


def _is_dev(name: str) -> bool:
    return name == WHOLE or name.startswith(f"{WHOLE}: ")


def _row(name: str, result: Mapping[str, Any]) -> str:
    interval = result.get("wer_ci95")
    shown = f"{100 * interval[0]:.2f}–{100 * interval[1]:.2f}" if interval and None not in interval else "–"
    rates = [f"{100 * result[key]:.2f}" if result[key] is not None else "–" for key in ROWS]
    if 0 in (result.get("words"), result.get("reference_words")):
        rates[0] = "no words"
    return f"| {name} | {' | '.join(rates)} | {_number(result)} | {shown} |"


def _number(result: Mapping[str, Any]) -> str:
    """How many utterances the figures are of, and of how many where some could not be heard."""
    if "utterances" not in result:
        return "–"
    number, left_out = result["utterances"], result.get("left_out", 0)
    return f"{number} of {number + left_out}" if left_out else f"{number}"
