"""From `DecodingConfig` to a decoder, and how the files that it names travel with a model."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from asr.config import DecodingConfig
from asr.decoding.greedy import GreedyDecoder
from asr.errors import ModelError
from asr.model_directory import CHECKSUMS, find_model, is_plain_name
from asr.options import check
from asr.recognizer import Decoder
from asr.text.tokens import Tokenizer
from asr.text.word_list import read_word_list
from asr.types import Seconds

# Options of a config that name files -> what these are called in a model directory, besides their suffixes.
FILE_OPTIONS = {"language_model": "lm", "lexicon": "lexicon", "rescoring_model": "rescoring"}
LANGUAGE_MODEL, LEXICON = "lm.lm", "lexicon.txt"  # the names that `asr tune` gives them


def build_decoder(config: DecodingConfig, tokenizer: Tokenizer, frame_seconds: Seconds) -> Decoder:
    """The decoder. The files that the config names are read here; relative paths count from the working directory."""
    check_decoding(config)
    if config.name == "greedy":
        return GreedyDecoder(tokenizer, frame_seconds, confidence_temperature=config.confidence_temperature)
    from asr.decoding.beam import BeamDecoder  # numba takes a second to import, which greedy decoding does not need
    from asr.language_builders import build_rescorer
    from asr.ngram.model import load_ngram

    rescorer = None
    if config.rescoring_model:
        rescorer = build_rescorer(config.rescoring_model, tokenizer, weight=config.rescoring_weight)
    return BeamDecoder.build(
        tokenizer,
        frame_seconds,
        beam_width=config.beam_width,
        nbest=config.nbest,
        language_model=load_ngram(config.language_model) if config.language_model else None,
        lm_weight=config.lm_weight,
        word_bonus=config.word_bonus,
        unknown_penalty=config.unknown_penalty,
        lexicon=read_word_list(config.lexicon) if config.lexicon else None,
        hotwords=config.hotwords,
        hotword_boost=config.hotword_boost,
        max_tokens_per_frame=config.max_tokens_per_frame,
        token_floor=config.token_floor,
        blank_skip=config.blank_skip,
        confidence_temperature=config.confidence_temperature,
        rescorer=rescorer,
    )


def check_decoding(config: DecodingConfig) -> None:
    """Raise `ConfigError` for an option out of range, or one that would do nothing beside the others."""
    check(config, "decoding.")


# ---- in model directories -------------------------------------------------------------------------------------------


def packed(config: DecodingConfig) -> tuple[DecodingConfig, dict[str, Path]]:
    """The config with names instead of paths, and the files that go into a model directory under these names."""
    names: dict[str, str] = {}
    files: dict[str, Path] = {}
    for option, stem in FILE_OPTIONS.items():
        if path := getattr(config, option):
            names[option] = stem + "".join(Path(path).suffixes)
            files[names[option]] = find_model(path)  # of a recurrent model the directory
    return replace(config, **names), files  # type: ignore[arg-type]  # all of these are text


def unpacked(config: DecodingConfig, directory: Path, names: Collection[str]) -> DecodingConfig:
    """The config with paths instead of names. names: the files that the directory lists with checksums.

    A config from a stranger must not make us read elsewhere: what it names is one of `names`, or a directory right
    inside, which has checksums of its own.

    Raises:
        ModelError: a name is not in the model directory.
    """
    paths: dict[str, str] = {}
    for option in FILE_OPTIONS:
        if name := getattr(config, option):
            is_directory = is_plain_name(name) and (directory / name).is_dir() and not (directory / name).is_symlink()
            if name not in names and not is_directory:
                raise ModelError(
                    f"{directory}/config.json: decoding.{option}: expected the name of a file that {CHECKSUMS} lists, "
                    f"got {name!r}"
                )
            paths[option] = str(directory / name)
    return replace(config, **paths)  # type: ignore[arg-type]  # all of these are text
