"""The options that say how log-probabilities become text: one definition for every command that decodes."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from asr.config import DecodingConfig

# For a language model whose weights nobody has tuned, in natural logarithms: a broad valley on the sets tried so far.
# pyctcdecode's defaults are 0.5 and 1.5.
DEFAULT_LM_WEIGHT = 0.5
DEFAULT_WORD_BONUS = 1.0
DEFAULT_RESCORING_WEIGHT = 0.3


def _option(text: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=text, show_default=False, rich_help_panel="Decoding", **settings)


@dataclass(frozen=True)
class DecodingOptions:
    """What was asked for on the command line; None: as the model directory has it."""

    decoder: Annotated[
        Literal["greedy", "beam"] | None, _option("The best path, or beam search. Without it: the model's own.")
    ] = None
    beam_width: Annotated[int | None, _option("Hypotheses that the search keeps.", min=1)] = None
    lm: Annotated[
        Path | None,
        _option("N-gram language model: ARPA or compiled; implies beam search.", exists=True, dir_okay=False),
    ] = None
    no_lm: Annotated[bool, _option("Leave the model's own language model out.", "--no-lm")] = False
    lm_weight: Annotated[float | None, _option("Of the language model's natural logarithms.", min=0.0)] = None
    word_bonus: Annotated[float | None, _option("Added for each word.")] = None
    unknown_penalty: Annotated[
        float | None, _option("Added for every eight characters of words that the language model lacks.")
    ] = None
    lexicon: Annotated[
        Path | None,
        _option("The only words to be found: one a line, further columns ignored.", exists=True, dir_okay=False),
    ] = None
    hotwords: Annotated[
        str | None,
        _option("Words and phrases to favour, with commas between, or @FILE with one a line.", metavar="WORDS"),
    ] = None
    hotword_boost: Annotated[float | None, _option("Added for each word of a hotword.", min=0.0)] = None
    rescoring_model: Annotated[
        Path | None,
        _option("Directory of a recurrent language model that chooses among the best.", exists=True, file_okay=False),
    ] = None
    rescoring_weight: Annotated[float | None, _option("Of its natural logarithms.", min=0.0)] = None
    nbest: Annotated[int | None, _option("Hypotheses to give, the best among them.", min=1)] = None

    def apply(self, own: "DecodingConfig") -> "DecodingConfig":
        """What the decoder is to be, for a model that has `own`; raises `ConfigError` for what makes no sense."""
        from dataclasses import replace

        from asr.config import DecodingConfig
        from asr.errors import ConfigError

        self._refuse_contradictions()
        if (self.decoder or ("beam" if self.lm else own.name)) == "greedy":
            self._refuse_idle("--decoder beam", "greedy decoding", self._of_beam())
            return DecodingConfig(confidence_temperature=own.confidence_temperature)
        config = replace(own, name="beam", **self._given())
        if not config.language_model:
            idle: dict[str, object] = {"--lm-weight": self.lm_weight, "--unknown-penalty": self.unknown_penalty}
            self._refuse_idle("--lm", "no language model", idle)
            config = replace(config, lm_weight=0.0, word_bonus=self.word_bonus or 0.0)
        elif self.uses_defaults(own):
            bonus = DEFAULT_WORD_BONUS if self.word_bonus is None else self.word_bonus
            config = replace(config, lm_weight=DEFAULT_LM_WEIGHT, word_bonus=bonus)
        if not config.rescoring_model:
            self._refuse_idle("--rescoring-model", "no model for it", {"--rescoring-weight": self.rescoring_weight})
            config = replace(config, rescoring_weight=0.0)
        elif not config.rescoring_weight:
            config = replace(config, rescoring_weight=DEFAULT_RESCORING_WEIGHT)
        if config.lexicon and self.unknown_penalty is not None:
            raise ConfigError("--unknown-penalty does nothing with a lexicon, whose words are all that may be found")
        if not config.hotwords:
            self._refuse_idle("--hotwords", "no hotwords", {"--hotword-boost": self.hotword_boost})
        return config

    def uses_defaults(self, own: "DecodingConfig") -> bool:
        """Whether weights that nobody has tuned are taken."""
        return self.lm is not None and self.lm_weight is None and not own.language_model

    def _given(self) -> dict[str, Any]:
        """The config's values that were asked for."""
        values: dict[str, Any] = {
            "beam_width": self.beam_width,
            "language_model": "" if self.no_lm else self.lm and str(self.lm),
            "lm_weight": self.lm_weight,
            "word_bonus": self.word_bonus,
            "unknown_penalty": self.unknown_penalty,
            "lexicon": self.lexicon and str(self.lexicon),
            "hotwords": None if self.hotwords is None else read_hotwords(self.hotwords),
            "hotword_boost": self.hotword_boost,
            "rescoring_model": self.rescoring_model and str(self.rescoring_model),
            "rescoring_weight": self.rescoring_weight,
            "nbest": self.nbest,
        }
        return {name: value for name, value in values.items() if value is not None}

    def _of_beam(self) -> dict[str, object]:
        """The options that only a beam search has, but --no-lm: without a language model is how greedy decoding is."""
        names = {field.name for field in fields(self)} - {"decoder", "no_lm"}
        return {f"--{name.replace('_', '-')}": getattr(self, name) for name in sorted(names)}

    def _refuse_contradictions(self) -> None:
        from asr.errors import ConfigError

        if self.no_lm and (self.lm is not None or self.lm_weight is not None):
            other = "--lm" if self.lm is not None else "--lm-weight"
            raise ConfigError(f"{other} and --no-lm contradict one another: leave one of them out")
        if self.lm_weight == 0.0:
            raise ConfigError("--lm-weight: expected a number above zero; --no-lm decodes without a language model")

    def _refuse_idle(self, needed: str, because: str, options: dict[str, object]) -> None:
        from asr.errors import ConfigError

        for option, value in options.items():
            if value is not None:
                raise ConfigError(f"{option} does nothing with {because}; add {needed}, or leave {option} out")


def read_hotwords(given: str) -> list[str]:
    """Words and phrases from a list with commas, or from the lines of @FILE; each once, without surplus spaces."""
    from asr.errors import ConfigError
    from asr.text.word_list import read_phrases

    if given.startswith("@"):
        return list(dict.fromkeys(read_phrases(given[1:])))
    hotwords = list(dict.fromkeys(" ".join(phrase.split()) for phrase in given.split(",") if phrase.strip()))
    if not hotwords:
        raise ConfigError(f"--hotwords: expected at least one word, got none in {given!r}")
    return hotwords


def takes_decoding_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whose last parameter is `decoding: DecodingOptions` an option for each field of it."""
    signature = inspect.signature(command)
    names = [field.name for field in fields(DecodingOptions)]
    options = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(DecodingOptions)
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        chosen = DecodingOptions(**{name: values.pop(name) for name in names})
        command(**values, decoding=chosen)

    others = [parameter for name, parameter in signature.parameters.items() if name != "decoding"]
    run.__signature__ = signature.replace(parameters=[*others, *options])  # type: ignore[attr-defined]  # Typer reads it
    return run
