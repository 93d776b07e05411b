"""Every option of a recurrent language model's training, with its default. Units are in the names.

The folders of `configs/language/` hold named deltas over these defaults, one group a folder, as `configs/` does for
acoustic models.
"""

from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from asr.config import OptimConfig


@dataclass
class LanguageModelConfig:
    """The network."""

    cell: str = "lstm"  # rnn_tanh | gru | lstm
    embedding_size: int = 256
    hidden_size: int = 512
    num_layers: int = 2
    dropout: float = 0.2
    tied: bool = False  # the softmax uses the embedding's weights; needs embedding_size = hidden_size


@dataclass
class LanguageOptimConfig(OptimConfig):
    """The optimiser, with a tighter clip than acoustic models need."""

    lr: float = 2e-3
    weight_decay: float = 1e-4
    clip_norm: float = 1.0


@dataclass
class LanguageTrainingConfig:
    """The loop."""

    epochs: int = 10
    num_streams: int = 32  # parallel streams of text: the batch
    bptt_tokens: int = 64  # how far back the error is propagated, and the length of a step
    patience: int = 0  # epochs without a better perplexity until it stops; 0: never
    average_best: int = 3  # the exported model is the mean of up to this many best epochs, by validation loss
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0  # a checkpoint after so many steps, too; 0: by minutes only
    log_every_steps: int = 20
    nonfinite_patience: int = 10  # successive steps with a non-finite gradient until it stops
    inspect_every_steps: int = 0  # gradient norms by layer into the history; 0: never


@dataclass
class LanguageMachineConfig:
    """What changes from machine to machine and not the result: resuming does not compare it."""

    accelerator: str = "auto"  # auto | cpu | cuda
    precision: str = "auto"  # auto (bf16 where the hardware has it) | float32 | bf16
    num_threads: int = 0  # that compute; 0: all cores


@dataclass
class LanguageConfig:
    """A run."""

    run_dir: str = MISSING
    texts: list[str] = MISSING  # one sentence a line; plain, .gz, .xz or .zst
    dev: list[str] = field(default_factory=list)  # none: a hundredth of the sentences is held out
    seed: int = 1
    case: str = "lower"  # lower | upper | keep
    units: str = "auto"  # word | char | bpe | tokenizer; auto: those of the tokenizer if there is one, else words
    vocab_size: int = 20000  # word (</s> and <unk> included) and bpe only
    tokenizer: str = ""  # an acoustic model's directory, or a tokenizer.json
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    optim: LanguageOptimConfig = field(default_factory=LanguageOptimConfig)
    training: LanguageTrainingConfig = field(default_factory=LanguageTrainingConfig)
    machine: LanguageMachineConfig = field(default_factory=LanguageMachineConfig)


PRIMARY = "language"  # the config that Hydra composes


def register_language() -> None:
    """Make the schema known to Hydra, with the groups that have a default."""
    store = ConfigStore.instance()
    store.store(name="language_schema", node=LanguageConfig)
    store.store(name=PRIMARY, node={"defaults": ["language_schema", {"model": "lstm_2x512"}, "_self_"]})
