"""`asr tune`: the weights of a language model, found on a development set."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asr.cli.common import (
    Device,
    MaxUnusableShare,
    ModelArgument,
    ModelOption,
    given_model,
    only_input,
    pick_device,
    refuse_replacing,
    tell_left_out,
    unusable_share,
    warn_of_left_out,
)
from asr.cli.decoding_options import DecodingOptions

if TYPE_CHECKING:
    from rich.console import Console

    from asr.config import DecodingConfig
    from asr.decoding.tuning import Range, Trial
    from asr.emissions import EmissionTable
    from asr.recognizer import Recognizer
    from asr.scoring.errors import Score

WRITTEN = ("trials.jsonl", "surface.png")


@dataclass(frozen=True)
class Outcome:
    """What tuning found, beside what there was."""

    config: "DecodingConfig"  # as tuned, but for the weights
    table: "EmissionTable"
    baselines: dict[str, "Score"]  # by the decoder's name
    trials: list["Trial"]
    lm_weights: "Range"
    word_bonuses: "Range"
    metric: str

    @property
    def best(self) -> "Trial":
        """The weights to take."""
        from asr.decoding.tuning import best

        return best(self.trials, self.metric)

    @property
    def is_better(self) -> bool:
        """Whether the best weights beat every decoder without the language model."""
        return bool(getattr(self.best, self.metric) < min(getattr(s, self.metric) for s in self.baselines.values()))


def tune(
    model: ModelArgument = None,
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="A development set with references.", show_default=False)
    ] = None,
    model_option: ModelOption = None,
    emissions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="The set's log-probabilities, by `asr evaluate --save-log-probs`, in place of MANIFEST.",
            show_default=False,
        ),
    ] = None,
    lm: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="N-gram language model: ARPA or compiled. Without it: the model's own.",
            show_default=False,
        ),
    ] = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The only words to be found, one a line.", show_default=False),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many pairs of weights to try.")] = 60,
    lm_weight_range: Annotated[
        tuple[float, float], typer.Option(min=0.0, metavar="LOW HIGH", help="Weights to try; natural logarithms.")
    ] = (0.0, 3.0),
    word_bonus_range: Annotated[tuple[float, float], typer.Option(metavar="LOW HIGH", help="Bonuses to try.")] = (
        -2.0,
        3.0,
    ),
    beam_width: Annotated[int, typer.Option(min=1, help="Hypotheses that the search keeps.")] = 100,
    metric: Annotated[Literal["wer", "cer"], typer.Option(help="What is to be low.")] = "wer",
    seed: Annotated[int, typer.Option(min=0, help="The same seed tries the same weights.")] = 1,
    allow_test: Annotated[bool, typer.Option("--allow-test", help="Tune on a test set; the card says so.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Leave the model as it is.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write the choice although nothing improves.")] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output-dir",
            help="Where trials.jsonl and surface.png go. Without it: tune/<name of the set> beside the model.",
            show_default=False,
        ),
    ] = None,
    max_unusable_share: MaxUnusableShare = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Threads that read audio ahead.")] = 2,
) -> None:
    """Find lm_weight and word_bonus on a development set, and write them with the language model into MODEL.

    The model runs once; what it says is then decoded again with each pair of weights (optuna's search). Prints the
    error rates over the weights. Afterwards `asr transcribe` and `asr evaluate` decode that way by themselves.

    [bold]Examples[/]

        asr tune runs/mini_english/model dev.jsonl --lm 4gram.lm

        asr tune -m runs/mini_english/model --emissions dev.npz --lm 4gram.lm --trials 200 --dry-run
    """
    from rich.console import Console

    from asr.builders import load_model, read_decoding
    from asr.decoding.tuning import Range

    model, inputs = given_model(model_option, model, manifest)
    source = the_set(only_input(inputs, "one manifest") if inputs else None, emissions)
    refuse_test_set(source, allow_test)
    directory = output_dir or model.resolve().parent / "tune" / source.stem
    refuse_replacing(directory, WRITTEN, [path for path in (source, lm, lexicon) if path])
    lm_weights, word_bonuses = Range(*lm_weight_range), Range(*word_bonus_range)
    own = read_decoding(model)
    config = tuned_config(own, lm, lexicon, beam_width)
    recognizer = load_model(model, pick_device(device), config)
    if lexicon is not None:
        warn_of_left_out(recognizer)
    table = (
        load_table(recognizer, emissions, allow_test)
        if emissions
        else compute_table(recognizer, source, workers, max_unusable_share)
    )
    console = Console()
    baselines = score_baselines(recognizer, config, table)
    found = search(recognizer, table, lm_weights, word_bonuses, trials, metric, seed)
    outcome = Outcome(config, table, baselines, found, lm_weights, word_bonuses, metric)
    write_trials(outcome, directory)
    is_wanted = not dry_run and (outcome.is_better or force)
    if is_wanted:
        write_choice(model, outcome, own, lm, lexicon, source)
    show(outcome, directory, console)
    if is_wanted:
        console.print(f"written into {model}; `asr transcribe` and `asr evaluate` decode so from now on")
    elif dry_run:
        console.print("--dry-run: the model directory is as it was")
    else:
        console.print(
            "the language model brings no improvement here: the model directory is as it was. Try a larger or better "
            "matching one, other ranges, or --force",
            style="yellow",
        )


# ---- the set --------------------------------------------------------------------------------------------------------


def the_set(manifest: Path | None, emissions: Path | None) -> Path:
    """The one of the two that was given."""
    from asr.errors import ConfigError

    if manifest is not None and emissions is not None:
        raise ConfigError("expected a manifest or --emissions, got both: the file holds the references already")
    if (source := manifest or emissions) is None:
        raise ConfigError("expected a manifest to tune on, or --emissions, got neither")
    return source


def refuse_test_set(name: str | Path, allowed: bool) -> None:
    """Raise `ConfigError` for the name of a test set unless that is wanted."""
    from asr.decoding.tuning import is_test_set
    from asr.errors import ConfigError

    if is_test_set(name) and not allowed:
        raise ConfigError(
            f"{name} is a test set by its name. What is tuned on a set looks better there than it is; tune on a "
            "development set. --allow-test does it all the same, and the model's card will say so"
        )


def load_table(recognizer: "Recognizer", emissions: Path, allow_test: bool) -> "EmissionTable":
    """Saved log-probabilities, which must belong to this model's tokens."""
    from asr.emissions import load_emissions

    table = load_emissions(emissions)
    refuse_test_set(table.source, allow_test)
    table.check_tokens(recognizer.tokenizer)
    return table


def compute_table(
    recognizer: "Recognizer", manifest: Path, workers: int, max_unusable_share: float | None = None
) -> "EmissionTable":
    """Run the model over a manifest, once; what cannot be heard is left out and named."""
    from asr.data.manifest import read_manifest
    from asr.emissions import emission_table
    from asr.evaluation import all_emissions, heard, normalized

    utterances = normalized(read_manifest(manifest), recognizer)
    left_out: dict[str, str] = {}
    batches = all_emissions(recognizer, utterances, workers, sys.stderr.isatty(), left_out)
    rows = {id: row for batch in batches for id, row in batch.rows().items()}
    frame_seconds = recognizer.samples_per_frame / recognizer.sample_rate
    tell_left_out(manifest.stem, left_out, len(utterances))
    utterances = heard(manifest.stem, utterances, left_out, unusable_share(max_unusable_share))
    return emission_table(rows, utterances, recognizer.tokenizer, frame_seconds, manifest.name)


# ---- the search -----------------------------------------------------------------------------------------------------


def tuned_config(own: "DecodingConfig", lm: Path | None, lexicon: Path | None, beam_width: int) -> "DecodingConfig":
    """The decoder whose weights are sought; what they are does not matter yet."""
    from dataclasses import replace

    from asr.errors import ConfigError

    if lm is None and not own.language_model:
        raise ConfigError("expected --lm: the model directory has no language model of its own whose weights to tune")
    config = DecodingOptions(decoder="beam", beam_width=beam_width, lm=lm, lm_weight=1.0, lexicon=lexicon).apply(own)
    return replace(config, nbest=1, rescoring_model="", rescoring_weight=0.0)


def score_baselines(recognizer: "Recognizer", config: "DecodingConfig", table: "EmissionTable") -> dict[str, "Score"]:
    """The set decoded without the language model."""
    from dataclasses import replace

    from asr.config import DecodingConfig
    from asr.decoder_builder import build_decoder
    from asr.decoding.tuning import score_table

    seconds = table.frame_seconds or recognizer.samples_per_frame / recognizer.sample_rate
    configs = {
        "greedy": DecodingConfig(),
        f"beam {config.beam_width}": replace(config, language_model="", lm_weight=0.0, word_bonus=0.0),
    }
    return {
        name: score_table(build_decoder(baseline, recognizer.tokenizer, seconds), table)
        for name, baseline in configs.items()
    }


def search(
    recognizer: "Recognizer",
    table: "EmissionTable",
    lm_weights: "Range",
    word_bonuses: "Range",
    num_trials: int,
    metric: str,
    seed: int,
) -> list["Trial"]:
    """Every trial, with a bar that shows the best so far."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from asr.decoding.beam import BeamDecoder
    from asr.decoding.tuning import best, score_table, search_weights

    decoder = recognizer.decoder
    assert isinstance(decoder, BeamDecoder)
    trials: list[Trial] = []
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("tuning", total=num_trials)
        for trial in search_weights(
            lambda lm_weight, word_bonus: score_table(decoder.with_weights(lm_weight, word_bonus), table),
            lm_weights=lm_weights,
            word_bonuses=word_bonuses,
            num_trials=num_trials,
            metric=metric,
            seed=seed,
        ):
            trials.append(trial)
            lowest = getattr(best(trials, metric), metric)
            bar.update(task, advance=1, description=f"tuning, {metric.upper()} {100 * lowest:.2f} %")
    return trials


# ---- the outcome ----------------------------------------------------------------------------------------------------


def write_trials(outcome: Outcome, directory: Path) -> None:
    """Write trials.jsonl and surface.png."""
    from dataclasses import asdict

    from asr.cli.tune_display import draw_surface
    from asr.files import write_json_lines

    table, picture = WRITTEN
    write_json_lines(directory / table, [asdict(trial) for trial in outcome.trials])
    draw_surface(outcome.trials, outcome.metric, directory / picture)


def show(outcome: Outcome, directory: Path, console: "Console") -> None:
    """Print the error rates, and where `write_trials` has put the trials."""
    from asr.cli.tune_display import comparison_table, surface_table

    console.print(comparison_table(outcome.baselines, outcome.best))
    console.print(f"\nlowest {outcome.metric.upper()} % by lm_weight (down) and word_bonus (across)", highlight=False)
    console.print(surface_table(outcome.trials, outcome.lm_weights, outcome.word_bonuses, outcome.metric))
    console.print(f"written: {directory}/{', '.join(WRITTEN)}", highlight=False)


def write_choice(
    model: Path, outcome: Outcome, own: "DecodingConfig", lm: Path | None, lexicon: Path | None, source: Path
) -> None:
    """Put the language model, compiled, and the weights into the model directory, with a note on its card."""
    from tempfile import TemporaryDirectory

    from asr.cli.tune_display import card_note
    from asr.decoder_builder import LANGUAGE_MODEL, LEXICON
    from asr.model_directory import update_model
    from asr.ngram.model import load_ngram

    changes: dict[str, object] = {
        "decoding.name": "beam",
        "decoding.beam_width": outcome.config.beam_width,
        "decoding.lm_weight": outcome.best.lm_weight,
        "decoding.word_bonus": outcome.best.word_bonus,
    }
    files: dict[str, Path] = {}
    with TemporaryDirectory() as temporary:
        if lm is not None:
            files[LANGUAGE_MODEL] = Path(temporary) / LANGUAGE_MODEL
            load_ngram(lm).save(files[LANGUAGE_MODEL])
            changes["decoding.language_model"] = LANGUAGE_MODEL
        if lexicon is not None:
            files[LEXICON] = lexicon
            changes["decoding.lexicon"] = LEXICON
        note = card_note(outcome.baselines, outcome.best, lm, source, outcome.table)
        replaced = {Path(own.language_model).name} if lm else set()
        replaced |= {Path(own.lexicon).name} if lexicon else set()
        update_model(model, config_changes=changes, files=files, remove=replaced - {""}, note=note)
