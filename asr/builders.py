"""From config to objects, with `match` on names; unknown names raise. Everything below takes plain arguments."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from asr.config import (
    Config,
    DataConfig,
    DecodingConfig,
    FeaturesConfig,
    ModelConfig,
    ScoringConfig,
    TextConfig,
    from_json,
    to_json,
)
from asr.decoder_builder import build_decoder, packed, unpacked
from asr.errors import ConfigError, ModelError
from asr.features import Filterbank
from asr.model_directory import RESERVED, ModelFiles, find_model, read_checksums, read_config, read_model
from asr.models.acoustic import AcousticModel
from asr.models.frontend import ConvFrontend, FrameStacking, Frontend, Identity
from asr.models.recurrent import RecurrentStack
from asr.options import check, check_option
from asr.recognizer import Recognizer
from asr.scoring.assessment import Comparison
from asr.text.bpe import BpeTokenizer
from asr.text.lexicon import Lexicon
from asr.text.normalize import Case
from asr.text.tokenizer import CharTokenizer, PhoneTokenizer, tokenizer_from_json
from asr.text.tokens import Tokenizer


def check_case(case: str) -> Case:
    """The name of a case mapping, checked."""
    if case not in ("lower", "upper", "keep"):
        raise ConfigError(f"text.case: expected lower, upper or keep, got {case!r}")
    return case  # type: ignore[return-value]


def build_tokenizer(config: TextConfig, texts: Iterable[str]) -> Tokenizer:
    """Learn the tokenizer from normalised transcripts."""
    match config.tokenizer:
        case "char":
            return CharTokenizer.train(texts)
        case "bpe":
            return BpeTokenizer.train(texts, config.vocab_size)
        case "phone" if config.lexicon:
            return PhoneTokenizer.from_lexicon(Lexicon.read(config.lexicon))
        case "phone" | "word":  # transcripts that are tokens already, with white space between them
            return PhoneTokenizer.train(texts)
    raise ConfigError(f"text.tokenizer: expected char, bpe, word or phone, got {config.tokenizer!r}")


def build_features(config: FeaturesConfig, sample_rate: int) -> Filterbank:
    """The feature module."""
    return Filterbank(sample_rate=sample_rate, **asdict(config))


def build_model(config: ModelConfig, num_features: int, vocab_size: int) -> AcousticModel:
    """The acoustic model with fresh weights."""
    frontend = _build_frontend(config, num_features)
    try:
        encoder = RecurrentStack(
            frontend.output_size,
            config.hidden_size,
            config.num_layers,
            cell=config.cell,  # type: ignore[arg-type]  # checked there
            bidirectional=config.bidirectional,
            merge=config.merge,  # type: ignore[arg-type]
            projection_size=config.projection_size,
            layer_norm=config.layer_norm,
            batch_norm=config.batch_norm,
            norm_place=config.norm_place,  # type: ignore[arg-type]
            residual=config.residual,
            dropout=config.dropout,
            variational_dropout=config.variational_dropout,
            weight_drop=config.weight_drop,
            initialization=config.initialization,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    return AcousticModel(frontend, encoder, vocab_size, config.dropout, config.variational_dropout)


def _build_frontend(config: ModelConfig, num_features: int) -> Frontend:
    frontend = config.frontend
    match frontend.name:
        case "none":
            return Identity(num_features)
        case "stack":
            return FrameStacking(num_features, frontend.stack, frontend.stride)
        case "conv":
            return ConvFrontend(num_features, frontend.channels, frontend.time_strides, frontend.batch_norm)
    raise ConfigError(f"model.frontend.name: expected none, stack or conv, got {frontend.name!r}")


def build_comparison(config: ScoringConfig) -> Comparison:
    """How the results of a run's test sets are scored."""
    return Comparison(config.alignment, config.unit, config.folding, tuple(config.normalizers), tuple(config.fields))


def build_recognizer(
    features: FeaturesConfig,
    model: ModelConfig,
    decoding: DecodingConfig,
    *,
    sample_rate: int,
    case: Case,
    tokenizer: Tokenizer,
) -> Recognizer:
    """Features, model and decoder that fit one another; weights are fresh."""
    filterbank = build_features(features, sample_rate)
    acoustic_model = build_model(model, filterbank.num_features, tokenizer.vocab_size)
    frame_samples = filterbank.frame_shift_samples * acoustic_model.frontend.subsampling
    decoder = build_decoder(decoding, tokenizer, frame_samples / sample_rate)
    return Recognizer(filterbank, acoustic_model, tokenizer, decoder, case=case)


# ---- model directories ----------------------------------------------------------------------------------------------


def model_files(config: Config, recognizer: Recognizer) -> ModelFiles:
    """What `write_model` writes for a trained recognizer, with the files that its decoder needs."""
    decoding, others = packed(config.decoding)
    described: dict[str, Any] = {
        "sample_rate": config.data.sample_rate,
        "case": config.text.case,
        "features": to_json(config.features),
        "model": to_json(config.model),
        "decoding": to_json(decoding),
    }
    return ModelFiles(described, _state(recognizer), recognizer.tokenizer.to_json(), others)


def _state(recognizer: Recognizer) -> dict[str, torch.Tensor]:
    parts = {"features": recognizer.features, "model": recognizer.model}
    return {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}


def read_decoding(path: str | Path) -> DecodingConfig:
    """The decoding config of a model directory, with the paths of its files; raises as `load_model` does."""
    directory = find_model(path)
    names = set(read_checksums(directory)).difference(RESERVED)
    values = read_config(directory).get("decoding")
    return unpacked(from_json(DecodingConfig, values, f"{path}/config.json: decoding"), directory, names)


def load_model(
    path: str | Path, device: str = "cpu", decoding: DecodingConfig | Mapping[str, Any] | None = None
) -> Recognizer:
    """Load a model directory, ready to transcribe.

    Args:
        path: the directory, or that of the run which it lies in
        device: where the model computes
        decoding: None for the model's own, `read_decoding`; options by name, where they differ from the model's own

    Raises:
        ModelError: the directory is not whole or not understood
        ConfigError: a value in config.json or `decoding` makes no sense
    """
    path = find_model(path)
    files = read_model(path)
    expected = {"sample_rate", "case", "features", "model", "decoding"}
    if set(files.config) != expected:
        raise ModelError(
            f"{path}: expected config.json to hold {', '.join(sorted(expected))}, got {sorted(files.config)}"
        )
    where = f"{path}/config.json: "
    sample_rate = check_option(DataConfig, "sample_rate", files.config["sample_rate"], f"{where}sample_rate")
    recognizer = build_recognizer(
        from_json(FeaturesConfig, files.config["features"], f"{where}features"),
        from_json(ModelConfig, files.config["model"], f"{where}model"),
        chosen_decoding(path, decoding),
        sample_rate=sample_rate,
        case=check_option(TextConfig, "case", files.config["case"], f"{where}case"),
        tokenizer=tokenizer_from_json(files.tokenizer, f"{path}/tokenizer.json"),
    )
    _load_state(recognizer, files, path)
    recognizer.features.to(device).eval()
    recognizer.model.to(device).eval()
    return recognizer


def chosen_decoding(path: str | Path, asked: DecodingConfig | Mapping[str, Any] | None) -> DecodingConfig:
    """The model's own decoding config, the one asked for instead, or its own with some options changed."""
    if isinstance(asked, DecodingConfig):
        check(asked, "decoding.")
        return asked
    own = read_decoding(path)
    if asked is None:
        return own
    if asked.get("name", own.name) == "greedy":  # nothing of a beam search is left then
        own = DecodingConfig(confidence_temperature=own.confidence_temperature)
    given = {name: _as_json(value) for name, value in asked.items()}
    return from_json(DecodingConfig, {**to_json(own), **given}, "decoding")


def _as_json(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return list(value) if isinstance(value, tuple) else value


def _load_state(recognizer: Recognizer, files: ModelFiles, path: str | Path) -> None:
    for part, module in (("features", recognizer.features), ("model", recognizer.model)):
        prefix = f"{part}."
        state = {k.removeprefix(prefix): v for k, v in files.tensors.items() if k.startswith(prefix)}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(f"{path}/model.safetensors does not fit config.json: {error}") from error
