"""The runs that a command asks for: one, or each of a sweep; in this process, or by a launcher on other machines.

All their configs are composed and checked before the first of them begins.
"""

import hashlib
import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.errors import AsrError, ConfigError, Interrupted

if TYPE_CHECKING:
    from asr.cli.overrides import Given
    from asr.config import Config

Multirun = Annotated[
    bool, typer.Option("--multirun", "-m", help="Train once for each combination of comma-separated values.")
]
ShowConfig = Annotated[
    str | None,
    typer.Option("--cfg", "-c", metavar="job|hydra|all", help="Print the config, do nothing.", show_default=False),
]
Resolve = Annotated[bool, typer.Option("--resolve", help="With --cfg: with every ${…} replaced by its value.")]

LONGEST_LABEL, LONGEST_NAME, HASH_DIGITS = 48, 120, 6  # characters of a value, and of all of a run's folder name
LAUNCHER = "hydra/launcher"
HERE = "basic"  # the launcher that is none


@dataclass(frozen=True)
class Request:
    """What a command line asks for, besides what is to be done with a config."""

    overrides: Sequence[str]
    multirun: bool = False
    show_config: str | None = None
    resolve: bool = False


@dataclass(frozen=True)
class Job:
    """One run: Hydra's overrides for it, and what sets it apart from the others of its sweep."""

    overrides: tuple[str, ...]
    name: str = ""


def carry_out(
    request: Request,
    action: Callable[["Config"], Any],
    *,
    check: Callable[["Config"], None],
    may_launch: bool = True,
) -> None:
    """Do `action` with the config of each run that is asked for, or print the configs.

    Args:
        request: the command line
        action: trains, or more; picklable
        check: what is looked at for all runs before the first begins
        may_launch: whether a launcher (+cluster=…) may carry it to other machines

    Raises:
        ConfigError: an option is wrong; nothing was done then
        AsrError: some of a sweep's runs failed; the others were done
    """
    from asr.cli.compose import composed, resolved

    if request.resolve and request.show_config is None:
        raise ConfigError("--resolve: expected --cfg job, hydra or all beside it, got none")
    jobs = plan(request)
    if request.show_config is not None:
        show(jobs, request.show_config, resolve=request.resolve)
        return
    found = [composed(job.overrides, with_hydra=True) for job in jobs]
    launcher = str(found[0].hydra.runtime.choices[LAUNCHER])
    configs = [resolved(config, job.overrides) for config, job in zip(found, jobs)]
    for config in configs:
        check(config)
    if launcher != HERE:
        if not may_launch:
            raise ConfigError(
                f"{LAUNCHER}: expected none for asr run, which is one process, got {launcher}: call asr prepare, then "
                "asr train +recipe=… with it, then asr evaluate"
            )
        launch(jobs, configs, action)
    elif len(jobs) == 1:
        action(configs[0])
    else:
        work_off(jobs, configs, action)


# ---- what is asked for ----------------------------------------------------------------------------------------------


def plan(request: Request) -> list[Job]:
    """The runs of a request. Each of a sweep has a directory of its own, named by what is swept and nothing else.

    It lies below the run_dir that is given, else below hydra.sweep.dir; a run_dir that differs from run to run by
    itself, such as 'runs/lr-${optim.lr}', is taken as it is.
    """
    from asr.cli.compose import acoustic_space
    from asr.cli.overrides import quoted, read_overrides

    launched = any(text.lstrip("+").startswith(("cluster=", f"{LAUNCHER}=")) for text in request.overrides)
    given = read_overrides(request.overrides, replace(acoustic_space(), takes_several=request.multirun or launched))
    jobs = [Job(texts) for texts in itertools.product(*(each.texts() for each in given))]
    if len(jobs) == 1:
        return jobs
    varied = [each for each in given if len(each.choices) > 1]
    names = folder_names(
        [
            [(each.key, choice.label) for each, choice in zip(varied, choices) if each.key != "run_dir"]
            for choices in itertools.product(*(each.choices for each in varied))
        ]
    )
    places = _places(given, jobs, names)
    return [
        Job(
            (*(text for text in job.overrides if not text.startswith("run_dir=")), f"run_dir={quoted(place)}"),
            name or place,
        )
        for job, place, name in zip(jobs, places, names)
    ]


def _places(given: Sequence["Given"], jobs: Sequence[Job], names: Sequence[str]) -> list[str]:
    """The run directories of a sweep."""
    from asr.cli.compose import composed, value_of

    run_dir = next((each for each in given if each.key == "run_dir"), None)
    if run_dir is None:
        bases = [str(value_of(composed(jobs[0].overrides, with_hydra=True), "hydra.sweep.dir"))] * len(jobs)
    elif len(run_dir.choices) > 1 or "${" in run_dir.choices[0].text:
        bases = [str(value_of(composed(job.overrides), "run_dir")) for job in jobs]
    else:
        bases = [str(value_of(composed(jobs[0].overrides), "run_dir"))] * len(jobs)
    differ_by_themselves = len(set(bases)) == len(bases)
    places = bases if differ_by_themselves else [str(Path(base, name)) for base, name in zip(bases, names)]
    place, count = Counter(places).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"expected runs that differ, got {count} of them for {place}")
    return places


def folder_names(labels: Sequence[Sequence[tuple[str, str]]]) -> list[str]:
    """Short names of folders, such as `optim.lr=0.001`, from what was swept and its values in each run.

    What a folder's name cannot have, and what is long, is cut; where that makes two alike, digits tell them apart.

    >>> folder_names([[("optim.lr", "0.001"), ("model", "lstm")], [("optim.lr", "0.002"), ("model", "lstm")]])
    ['optim.lr=0.001,model=lstm', 'optim.lr=0.002,model=lstm']
    """
    short = [",".join(f"{key}={_short(label)}" for key, label in run) for run in labels]
    names = []
    for run, name in zip(labels, short):
        has_double = any(other == name and other_run != run for other_run, other in zip(labels, short))
        if has_double or len(name) > LONGEST_NAME:
            digits = hashlib.sha256(repr(list(run)).encode()).hexdigest()[:HASH_DIGITS]
            name = f"{name[: LONGEST_NAME - HASH_DIGITS - 1]}-{digits}"
        names.append(name)
    return names


def _short(label: str) -> str:
    plain = re.sub(r"[^\w.+@-]+", "_", label, flags=re.ASCII).strip("_") or "none"
    return plain if len(plain) <= LONGEST_LABEL else plain[-LONGEST_LABEL:].lstrip("_")


def show(jobs: Sequence[Job], kind: str, *, resolve: bool) -> None:
    """Print the config of each run as YAML."""
    from asr.cli.compose import as_yaml

    if kind not in ("job", "hydra", "all"):
        raise ConfigError(f"--cfg: expected job, hydra or all, got {kind!r}")
    for job in jobs:
        if job.name:
            typer.echo(f"--- # {job.name}")
        typer.echo(as_yaml(job.overrides, kind, resolve=resolve), nl=False)


# ---- carrying it out ------------------------------------------------------------------------------------------------


def work_off(jobs: Sequence[Job], configs: Sequence["Config"], action: Callable[["Config"], Any]) -> None:
    """Do the runs of a sweep one after another. One that fails does not stop the others; Ctrl-C stops all."""
    from rich.console import Console
    from rich.markup import escape

    from asr.launcher import detect_launch

    console = Console(stderr=True, quiet=not detect_launch().is_leader)
    failed = []
    for number, (job, config) in enumerate(zip(jobs, configs), start=1):
        console.print(f"run {number} of {len(jobs)}: {job.name}, in {config.run_dir}", highlight=False, markup=False)
        try:
            action(config)
        except Interrupted:
            raise
        except AsrError as error:
            console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
            failed.append(job.name)
    if failed:
        raise AsrError(f"{len(failed)} of {len(jobs)} runs failed: {', '.join(failed)}")


def launch(jobs: Sequence[Job], configs: Sequence["Config"], action: Callable[["Config"], Any]) -> None:
    """Hand the runs to the launcher that their config chooses, and wait for them.

    Raises what one of them raised, and `AsrError` for a job that ended without a word.
    """
    from hydra import compose
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    from asr.cli.compose import acoustic_space, composing
    from asr.cli.overrides import quoted
    from asr.config import register
    from asr.resources import resource_directory

    register()
    places = [f"hydra.sweep.dir={quoted(config.run_dir)}" for config in configs]
    with composing(resource_directory("configs"), acoustic_space()):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        logs = os.path.commonpath([config.run_dir for config in configs])
        common = [*jobs[0].overrides, f"hydra.sweep.dir={quoted(logs)}"]
        first = compose("config", overrides=common, return_hydra_config=True)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks()),
            task_function=partial(_elsewhere, action, list(sys.argv)),
            config=first,
        )
        overrides = [[*job.overrides, place, "hydra.sweep.subdir=."] for job, place in zip(jobs, places)]
        try:
            results = launcher.launch(overrides, initial_job_idx=0)
        except RuntimeError as error:  # submitit's FailedJobError and UncompletedJobError among them
            raise AsrError(
                f"a job ended without a result; its log is in {logs}/.submitit: {str(error).splitlines()[0]}"
            ) from error
    for result in results:
        if isinstance(result._return_value, Exception):  # `return_value` would print Hydra's words beside it
            raise result._return_value


def _elsewhere(action: Callable[["Config"], Any], command: list[str], config: Any) -> None:
    """A run in a launcher's process, which has another command line than the one that the run's records name."""
    from hydra.core.hydra_config import HydraConfig

    from asr.cli.compose import resolved

    sys.argv = command
    action(resolved(config, [str(text) for text in HydraConfig.get().overrides.task]))
