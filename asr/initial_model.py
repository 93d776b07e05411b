"""Beginning a run with the weights of a trained model (`training.initial_model`), where they mean the same."""

from __future__ import annotations

from rich.console import Console

from asr.builders import load_model
from asr.config import Config, DecodingConfig, ModelConfig, difference, from_json, to_json
from asr.errors import ConfigError
from asr.model_directory import find_model, read_config
from asr.recognizer import Recognizer
from asr.text.tokens import Tokenizer

NAMED_TOKENS = 5  # in which two models differ
# between a model and the one whose weights it starts from
FREE_TO_DIFFER = ("dropout", "variational_dropout", "weight_drop", "initialization")


def load_initial_model(config: Config, recognizer: Recognizer, console: Console) -> None:
    """Put the weights of `training.initial_model` into the recognizer's model; features stay as this run's data say.

    Raises `ModelError` when the directory is damaged, `ConfigError` that lists what differs when its weights mean
    something else than this run's would: another architecture, other features or other tokens.
    """
    path = find_model(config.training.initial_model)
    initial = load_model(path, decoding=DecodingConfig())
    described = read_config(path)
    described["model"] = to_json(from_json(ModelConfig, described["model"]))  # with what it is too old to know
    parts = ("sample_rate", "case", "features", "model")
    ours = {"sample_rate": config.data.sample_rate, "case": config.text.case}
    ours |= {"features": to_json(config.features), "model": to_json(config.model)}
    lines = difference({part: described[part] for part in parts}, ours)
    lines = [line for line in lines if not line.startswith(tuple(f"model.{name}:" for name in FREE_TO_DIFFER))]
    lines += token_difference(initial.tokenizer, recognizer.tokenizer)
    if lines:
        listing = "\n  ".join(lines)
        raise ConfigError(
            f"training.initial_model: the weights of {path} cannot start this run, which differs in (there -> here):\n"
            f"  {listing}\nGo back to that config, or start from another model."
        )
    recognizer.model.load_state_dict(initial.model.state_dict())
    console.print(f"starting from the weights of {path}", highlight=False)


def token_difference(there: Tokenizer, here: Tokenizer) -> list[str]:
    """In which tokens two tokenizers differ, in a line; none when they number the same tokens alike."""
    if there.vocab == here.vocab:
        return []
    lost, new = ([t for t in one.vocab if t not in other.vocab] for one, other in ((there, here), (here, there)))
    if not lost and not new:
        return ["tokens: the same in another order"]
    named = [
        f"only {where} {', '.join(map(repr, some[:NAMED_TOKENS]))}"
        for where, some in (("there", lost), ("here", new))
        if some
    ]
    return [f"tokens: {len(there.vocab)} -> {len(here.vocab)}; {'; '.join(named)}"]
