"""Model, batch, learning rate and epochs for an amount of speech: the rule of `model=auto`.

Little data want a small model, small batches (else there are too few steps to leave the blanks behind) and many epochs;
much data the opposite. docs/training.md has the rule as a table, and says which of its rows were tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from asr.config import Config
from asr.errors import ConfigError
from asr.options import did_you_mean
from asr.types import Seconds

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Fit:
    """What the rule says for an amount of speech."""

    num_layers: float
    hidden_size: float
    dropout: float
    batch_seconds: Seconds
    lr: float
    epochs: float


OPTIONS = {
    "num_layers": "model.num_layers",
    "hidden_size": "model.hidden_size",
    "dropout": "model.dropout",
    "batch_seconds": "data.batch_seconds",
    "lr": "optim.lr",
    "epochs": "training.epochs",
}

# Hours of speech and what to train with them. In between the logarithms are interpolated.
ANCHORS: tuple[tuple[float, Fit], ...] = (
    (1 / 12, Fit(num_layers=2, hidden_size=160, dropout=0.2, batch_seconds=10, lr=3e-3, epochs=120)),
    (1 / 6, Fit(num_layers=2, hidden_size=160, dropout=0.2, batch_seconds=15, lr=3e-3, epochs=90)),
    (0.4, Fit(num_layers=2, hidden_size=192, dropout=0.2, batch_seconds=20, lr=3e-3, epochs=60)),
    (1.0, Fit(num_layers=3, hidden_size=224, dropout=0.2, batch_seconds=30, lr=2.5e-3, epochs=50)),
    (2.0, Fit(num_layers=3, hidden_size=256, dropout=0.2, batch_seconds=50, lr=2e-3, epochs=45)),
    (5.0, Fit(num_layers=4, hidden_size=320, dropout=0.2, batch_seconds=100, lr=1.5e-3, epochs=45)),
    (13.0, Fit(num_layers=4, hidden_size=320, dropout=0.15, batch_seconds=160, lr=1.5e-3, epochs=35)),
    (100.0, Fit(num_layers=5, hidden_size=512, dropout=0.1, batch_seconds=320, lr=1e-3, epochs=25)),
)


def fit(hours: float) -> Fit:
    """The rule: below the first anchor and above the last one it stays as it is there.

    >>> fit(1.0).hidden_size, fit(0.0).epochs, fit(1000.0).epochs
    (224, 120, 25)
    """
    hours = min(max(hours, ANCHORS[0][0]), ANCHORS[-1][0])
    place = next(i for i, (upper, _) in enumerate(ANCHORS) if hours <= upper)
    (low_hours, low), (high_hours, high) = ANCHORS[max(0, place - 1)], ANCHORS[place]
    share = 1.0 if place == 0 else math.log(hours / low_hours) / math.log(high_hours / low_hours)
    between = {
        each.name: math.exp(
            (1 - share) * math.log(getattr(low, each.name)) + share * math.log(getattr(high, each.name))
        )
        for each in fields(Fit)
    }
    return Fit(
        num_layers=round(between["num_layers"]),
        hidden_size=32 * round(between["hidden_size"] / 32),
        dropout=round(between["dropout"], 2),
        batch_seconds=5.0 * round(between["batch_seconds"] / 5),
        lr=float(f"{between['lr']:.2g}"),
        epochs=round(between["epochs"]),
    )


def fit_to_data(config: Config, hours: float, recorded: dict[str, Any] | None = None) -> str | None:
    """Set the options that `config.fit` names for so many hours of training speech; returns a line that says so.

    recorded: the options of a run that goes on, by section, which keeps what it was begun with.

    Raises `ConfigError` for a name that the rule does not know.
    """
    wanted = {short: name for short, name in OPTIONS.items() if name in config.fit}
    if unknown := [name for name in config.fit if name not in OPTIONS.values()]:
        near = did_you_mean(unknown[0], OPTIONS.values()) or f"; it knows {', '.join(OPTIONS.values())}"
        raise ConfigError(f"fit: expected options that the rule of model=auto knows, got {unknown[0]!r}{near}")
    if not wanted:
        return None
    ruled = fit(hours)
    said = []
    for short, name in wanted.items():
        section, option = name.split(".")
        value = getattr(ruled, short) if recorded is None else recorded[section][option]
        setattr(getattr(config, section), option, value)
        said.append(f"{name}={value:g}")
    origin = f"for {spoken(hours)} of speech" if recorded is None else "as the run was begun"
    return f"fitted {origin}: {' '.join(said)}"


def spoken(hours: float) -> str:
    """An amount of speech as one says it.

    >>> spoken(0.17), spoken(5.25)
    ('10 minutes', '5.2 hours')
    """
    minutes = 60 * hours
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{hours:.1f} hours"


def not_overridden(names: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Those of the options that no override sets, by itself or by its group.

    The group `model` is what asks for the rule, `model=auto`: a name of another model leaves nothing to be fitted.

    >>> not_overridden(["optim.lr", "training.epochs"], ["optim=one_cycle", "seed=2"])
    ['training.epochs']
    """
    keys = {override.lstrip("+~").partition("=")[0].partition("@")[0] for override in overrides}
    return [name for name in names if name not in keys and name.partition(".")[0] not in keys - {"model"}]
