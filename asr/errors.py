"""Errors that a user can mend. The command line prints them without a traceback and exits non-zero.

Each message says what was expected, what came, where, and what to do about it.
"""


class AsrError(Exception):
    """Base class of every error raised on purpose."""


class AudioError(AsrError):
    """An audio file cannot be opened or is not usable; names the file and the reason."""


class ManifestError(AsrError):
    """A manifest line is malformed or contradicts another; names the file and the line."""


class TextError(AsrError):
    """Text cannot be tokenized, or a lexicon or tokenizer file is malformed."""


class TargetError(AsrError):
    """CTC targets that cannot be learnt (label out of range, blank inside, too few frames); names the utterance."""


class ConfigError(AsrError):
    """An unknown option or a value that makes no sense; names the option."""


class ModelError(AsrError):
    """A model directory is incomplete, damaged or of another format; names the file."""


class CheckpointError(AsrError):
    """A training checkpoint is damaged or belongs to another configuration."""


class CorpusError(AsrError):
    """A corpus is missing, incomplete or cannot be fetched; says how to get it."""


class OutputError(AsrError):
    """A result cannot be written; names the file and the reason."""


class LanguageModelError(AsrError):
    """A language model file is malformed or does not fit the acoustic model; names the line or the symbols."""


class ScoringError(AsrError):
    """References and hypotheses do not belong together, or there is nothing to score; names the utterances."""


class Interrupted(AsrError):
    """A training run was asked to stop and has saved its place."""
