"""From a recurrent language model's config, or its directory, to objects. `asr/decoder_builder.py` builds on this."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from asr.config import from_json, to_json
from asr.decoding.rescoring import LanguageModelScorer, Rescorer
from asr.errors import ConfigError, ModelError
from asr.language_config import LanguageConfig, LanguageModelConfig
from asr.model_directory import ModelFiles, read_model
from asr.models.language import PRIMER_TOKENS, RecurrentLanguageModel
from asr.options import check_option
from asr.text.language_units import LanguageUnits, units_from_json
from asr.text.tokens import Tokenizer
from asr.training.run_directory import command, commit, cpu_name

KIND = "language_model"
FIELDS = {"kind", "case", "model"}


def build_language_model(config: LanguageModelConfig, vocab_size: int) -> RecurrentLanguageModel:
    """The network with fresh weights."""
    try:
        return RecurrentLanguageModel(
            vocab_size,
            config.embedding_size,
            config.hidden_size,
            config.num_layers,
            cell=config.cell,  # type: ignore[arg-type]  # checked there
            dropout=config.dropout,
            tied=config.tied,
        )
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error


def build_rescorer(
    path: str | Path, tokenizer: Tokenizer, *, weight: float, ngram_share: float = 1.0, device: str = "cpu"
) -> Rescorer:
    """A rescorer from a language model's directory, for what an acoustic model with `tokenizer` writes."""
    scorer = load_language_model(path, device)
    scorer.check_tokenizer(tokenizer)
    return Rescorer(scorer, weight, ngram_share)


def language_model_files(config: LanguageConfig, scorer: LanguageModelScorer) -> ModelFiles:
    """What `write_model` writes for a trained language model."""
    described: dict[str, Any] = {"kind": KIND, "case": config.case, "model": to_json(config.model)}
    return ModelFiles(described, scorer.model.state_dict(), scorer.units.to_json())


def load_language_model(path: str | Path, device: str = "cpu") -> LanguageModelScorer:
    """Load a language model's directory, ready to score. Raises `ModelError` for what is not whole or understood."""
    files = read_model(Path(path))
    if set(files.config) != FIELDS or files.config["kind"] != KIND:
        raise ModelError(
            f"{path}: expected a recurrent language model, whose config.json holds {', '.join(sorted(FIELDS))}, "
            f"got {sorted(files.config)}; `asr lm train --type recurrent` makes one"
        )
    case = check_option(LanguageConfig, "case", files.config["case"], f"{path}/config.json: case")
    model_config = from_json(LanguageModelConfig, files.config["model"], f"{path}/config.json: model")
    units = units_from_json(files.tokenizer, f"{path}/tokenizer.json")
    model = build_language_model(model_config, units.vocab_size)
    try:
        model.load_state_dict(files.tensors)
    except RuntimeError as error:
        raise ModelError(f"{path}/model.safetensors does not fit config.json: {error}") from error
    if int(model.primer.min()) < 0 or int(model.primer.max()) >= units.vocab_size:
        raise ModelError(f"{path}/model.safetensors: primer: expected ids from 0 to {units.vocab_size - 1}")
    return LanguageModelScorer(model.to(torch.device(device)), units, case)


def language_model_card(config: LanguageConfig, units: LanguageUnits, values: Mapping[str, float]) -> str:
    """The README.md of a language model's directory. values: of the validation set."""
    model = config.model
    made_at = f" at commit `{commit()}`" if commit() else ""
    dev = ", ".join(f"`{path}`" for path in config.dev) or "sentences held out of the training text"
    lines = [
        f"# Recurrent language model: {model.cell}, {model.num_layers} × {model.hidden_size}, {units.vocab_size} units",
        "",
        f"Trained by `{command()}`{made_at}, seed {config.seed}.",
        f"Training text: {', '.join(f'`{path}`' for path in config.texts)}, in {config.case} case.",
        "",
        "| perplexity a token | perplexity a word |",
        "|---|---|",
        f"| {values['perplexity']:.3f} | {values['word_perplexity']:.2f} |",
        "",
        f"On {dev}, which chose the weights. Each sentence stands alone, its end counts. By the word, models of "
        "different units can be compared: a word outside the vocabulary has its share of the probability of `<unk>`.",
        f"The weights hold the first {PRIMER_TOKENS} tokens of the training text, which is read before each sentence.",
        f"Figures from a machine with {cpu_name()}.",
        "",
    ]
    return "\n".join(lines)
