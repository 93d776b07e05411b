"""Every option of a recurrent language model's training, with its default and its range. Units are in the names.

The folders of `configs/language/` hold named deltas over these defaults, one group a folder, as `configs/` does for
acoustic models.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from asr.config import CELLS, LARGEST_SEED, OptimConfig
from asr.options import Conflict, default_of, option


@dataclass
class LanguageModelConfig:
    """The network."""

    cell: str = option("lstm", choices=CELLS)
    embedding_size: int = option(256, at_least=1, at_most=16384)
    hidden_size: int = option(512, at_least=1, at_most=16384)
    num_layers: int = option(2, at_least=1, at_most=100)
    dropout: float = option(0.2, at_least=0, below=1)
    tied: bool = option(False)  # the softmax uses the embedding's weights; needs embedding_size = hidden_size

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together."""
        if self.tied and self.embedding_size != self.hidden_size:
            yield Conflict(
                "tied",
                f"expected embedding_size and hidden_size alike beside true, got {self.embedding_size} "
                f"and {self.hidden_size}",
            )


@dataclass
class LanguageOptimConfig(OptimConfig):
    """The optimiser, with a tighter clip than acoustic models need."""

    lr: float = default_of(OptimConfig, "lr", 2e-3)
    weight_decay: float = default_of(OptimConfig, "weight_decay", 1e-4)
    clip_norm: float = default_of(OptimConfig, "clip_norm", 1.0)


@dataclass
class LanguageTrainingConfig:
    """The loop."""

    epochs: int = option(10, at_least=1)
    num_streams: int = option(32, at_least=1, at_most=1_000_000)  # parallel streams of text: the batch
    # how far back the error is propagated, and the length of a step
    bptt_tokens: int = option(64, at_least=1, at_most=1_000_000)
    patience: int = option(0, at_least=0)  # epochs without a better perplexity until it stops; 0: never
    # the exported model is the mean of up to this many best epochs, by validation loss
    average_best: int = option(3, at_least=1)
    checkpoint_minutes: float = option(10.0, at_least=0)
    checkpoint_steps: int = option(0, at_least=0)  # a checkpoint after so many steps, too; 0: by minutes only
    log_every_steps: int = option(20, at_least=1)
    nonfinite_patience: int = option(10, at_least=1)  # successive steps with a non-finite gradient until it stops
    inspect_every_steps: int = option(0, at_least=0)  # gradient norms by layer into the history; 0: never


@dataclass
class LanguageMachineConfig:
    """What changes from machine to machine and not the result: resuming does not compare it."""

    accelerator: str = option("auto", choices=["auto", "cpu", "cuda"])
    # auto: bf16 on a GPU that has it and on processors with AMX
    precision: str = option("auto", choices=["auto", "float32", "bf16"])
    num_threads: int = option(0, at_least=0, at_most=1024)  # that compute; 0: all cores


@dataclass
class LanguageConfig:
    """A run."""

    run_dir: str = option(MISSING, not_empty=True)
    texts: list[str] = option(MISSING, not_empty=True)  # one sentence a line; plain, .gz, .bz2, .xz or .zst
    dev: list[str] = option([])  # none: a hundredth of the sentences is held out
    seed: int = option(1, at_least=0, at_most=LARGEST_SEED)
    case: str = option("lower", choices=["lower", "upper", "keep"])
    # auto: those of the tokenizer if there is one, else words
    units: str = option("auto", choices=["auto", "word", "char", "bpe", "tokenizer"])
    # word (</s> and <unk> included) and bpe only
    vocab_size: int = option(20000, at_least=3, at_most=10_000_000)
    tokenizer: str = option("")  # an acoustic model's directory, or a tokenizer.json
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    optim: LanguageOptimConfig = field(default_factory=LanguageOptimConfig)
    training: LanguageTrainingConfig = field(default_factory=LanguageTrainingConfig)
    machine: LanguageMachineConfig = field(default_factory=LanguageMachineConfig)

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together."""
        if self.tokenizer and self.units not in ("auto", "tokenizer"):
            yield Conflict("units", f"expected tokenizer beside tokenizer={self.tokenizer}, got {self.units!r}")
        if self.units == "tokenizer" and not self.tokenizer:
            yield Conflict(
                "tokenizer", "expected a model directory or a tokenizer.json beside units=tokenizer, got none"
            )


PRIMARY = "language"  # the config that Hydra composes


def register_language() -> None:
    """Make the schema known to Hydra, with the groups that have a default."""
    store = ConfigStore.instance()
    store.store(name="language_schema", node=LanguageConfig)
    store.store(name=PRIMARY, node={"defaults": ["language_schema", {"model": "lstm_2x512"}, "_self_"]})
