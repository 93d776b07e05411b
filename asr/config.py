"""Every option there is, with its default. Hydra fills these in; nothing below this layer knows Hydra.

Units are in the names. The folders of `configs/` hold named deltas over these defaults, one group a folder.
"""

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from asr.errors import ConfigError

LATER = "later"  # in a field's metadata: model directories from before the option lack it, and meant its default


@dataclass
class DataConfig:
    """Manifests, and what `asr prepare` needs to make them."""

    name: str = "manifests"  # a variant of the recipe's corpus
    dir: str = "data"  # where prepared manifests and audio go
    train: list[str] = MISSING
    dev: list[str] = MISSING
    test: dict[str, str] = field(default_factory=dict)  # name of the set -> manifest
    options: dict[str, Any] = field(default_factory=dict)  # the recipe's own, see its prepare.py
    sample_rate: int = 16000
    min_duration_seconds: float = 0.05
    max_duration_seconds: float = 35.0
    batch_seconds: float = 160.0  # padded audio in one batch, of all processes together; 0: one utterance a batch
    sorted_epochs: int = 0  # so many first epochs go from short to long; 1: SortaGrad
    growing_epochs: int = 0  # so many first epochs use the shortest utterances only, more with each
    first_share: float = 0.1  # of the utterances, in the first of those epochs


@dataclass
class TextConfig:
    """Normalisation and tokens."""

    case: str = "lower"  # lower | upper | keep
    tokenizer: str = "char"  # char | bpe | phone | word (small closed vocabularies)
    vocab_size: int = 500  # bpe only
    lexicon: str = ""  # phone only: pronunciations; without it transcripts are phones already


@dataclass
class FeaturesConfig:
    """Kaldi's conventions; see asr/features.py."""

    name: str = "logmel"  # logmel | mfcc
    num_mels: int = 80
    num_ceps: int = 13  # mfcc only
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    window: str = "povey"
    preemphasis: float = 0.97
    dither: float = 0.0
    low_freq: float = 20.0
    high_freq: float = 0.0  # 0 or less: counted from half the sample rate
    use_energy: bool = False
    deltas: int = 0  # 0, 1 (Δ) or 2 (Δ and ΔΔ)
    normalize: str = "utterance"  # none | utterance | global | adaptive (global, then by the utterance)


@dataclass
class AugmentConfig:
    """What is done to the training data, and to no other."""

    speeds: list[float] = field(default_factory=lambda: [1.0])
    num_freq_masks: int = 0
    max_freq_width: int = 27
    num_time_masks: int = 0
    max_time_width: int = 40  # feature frames
    max_time_share: float = 0.2
    noise: list[str] = field(default_factory=list)  # manifests of noise recordings
    noise_probability: float = 0.0
    min_snr_db: float = 5.0
    max_snr_db: float = 30.0
    reverberation_probability: float = 0.0
    rooms: list[str] = field(default_factory=list)  # manifests of room impulse responses; none: synthesised ones
    min_rt60_seconds: float = 0.15  # this and the next three are for synthesised rooms
    max_rt60_seconds: float = 0.8
    min_direct_db: float = 0.0  # the direct path over all reflections together
    max_direct_db: float = 15.0
    label_smoothing: float = 0.0  # share of the divergence from the prior in the loss
    smoothing_prior: str = "uniform"  # uniform | unigram


@dataclass
class FrontendConfig:
    """What makes fewer frames of the features."""

    name: str = "stack"  # none | stack | conv
    stack: int = 3
    stride: int = 3
    channels: list[int] = field(default_factory=lambda: [32, 32])  # conv only
    time_strides: list[int] = field(default_factory=lambda: [2, 2])  # conv only
    batch_norm: bool = field(default=False, metadata={LATER: True})  # conv only


@dataclass
class ModelConfig:
    """The acoustic model."""

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    cell: str = "lstm"  # rnn_tanh | gru | lstm
    hidden_size: int = 320
    num_layers: int = 4
    bidirectional: bool = True
    merge: str = "concat"  # concat | sum
    projection_size: int = 0
    layer_norm: bool = False
    batch_norm: bool = field(default=False, metadata={LATER: True})
    norm_place: str = field(default="output", metadata={LATER: True})  # output | input, of each recurrent layer
    residual: bool = False
    dropout: float = 0.1
    variational_dropout: bool = field(default=False, metadata={LATER: True})  # one mask for a whole sequence
    weight_drop: float = field(default=0.0, metadata={LATER: True})  # of the recurrent weights
    initialization: str = "orthogonal"  # orthogonal | uniform


@dataclass
class OptimConfig:
    """The optimiser and its schedule."""

    name: str = "adamw"  # adamw | sgd
    lr: float = 1e-3
    weight_decay: float = 1e-2
    beta2: float = 0.98  # adamw only
    momentum: float = 0.9  # sgd only
    clipping: str = "norm"  # norm | value | adaptive
    clip_norm: float = 5.0  # the limit: of the norm; of a component; of a unit's norm as a share of its weights'
    schedule: str = "cosine"  # cosine | one_cycle | plateau | newbob | constant, each after the warm-up
    warmup_share: float = 0.1  # of the run: the rate rises during so much of it …
    warmup_steps: int = 200  # … and during no more than so many steps; 0: no warm-up
    final_lr_share: float = 0.01  # cosine and one_cycle end there, plateau and newbob stop there
    plateau_factor: float = 0.5  # newbob's too
    plateau_patience: int = 2  # epochs
    newbob_threshold: float = 0.005  # relative improvement of an epoch below which the rate begins to fall
    peak_share: float = 0.3  # one_cycle only: of the run, until the rate is highest
    start_lr_share: float = 0.04  # one_cycle only
    weight_noise: float = 0.0  # standard deviation of Gaussian noise on the weights in each step; 0: none
    ema_decay: float = 0.0  # of the moving average of the weights that is validated and exported; 0: none


@dataclass
class TrainingConfig:
    """The loop."""

    epochs: int = 40
    criterion: str = "cer"  # cer | wer | loss: what is lowest on the development set in the best epoch
    patience: int = 0  # epochs without a better one until it stops; 0: never
    average_best: int = 5  # the exported model is the mean of up to this many best epochs, by validation loss
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0  # a checkpoint after so many steps, too; 0: by minutes only
    log_every_steps: int = 10  # also how often the figures of steps are read back from the device
    num_samples: int = 3  # reference and hypothesis pairs shown after each epoch
    inspect_every_steps: int = 0  # gradient norms by layer and gates into the history; 0: never
    nonfinite_patience: int = 10  # successive steps with a non-finite gradient until it stops
    initial_model: str = ""  # a model directory, whose weights a new run starts from


@dataclass
class DecodingConfig:
    """How log-probabilities become text. Weights and bonuses belong to natural logarithms; all but greedy's are beam's.

    Files are paths in a run's config; in a model directory they are names of files inside it, which the export puts
    there.
    """

    name: str = "greedy"  # greedy | beam
    beam_width: int = 100
    nbest: int = 1  # hypotheses kept, the best among them
    language_model: str = ""  # n-grams: ARPA, or what `asr lm compile` makes of it
    lm_weight: float = 0.0  # above zero with a language model, and only then
    word_bonus: float = 0.0  # added for each word
    unknown_penalty: float = -10.0  # added for each word that the language model does not know
    lexicon: str = ""  # the only words to be found: one a line, further columns ignored
    hotwords: list[str] = field(default_factory=list)  # words and phrases to be favoured
    hotword_boost: float = 5.0  # added for each of their words
    max_tokens_per_frame: int = 0  # the likeliest ones are considered; 0: all
    token_floor: float = 0.0  # ln p below which a token is not considered; 0: off
    blank_skip: float = 1.0  # frames whose blank is likelier than this are skipped; 1: none
    confidence_temperature: float = 1.0  # from `asr calibrate`; greedy's too
    rescoring_model: str = ""  # a recurrent language model, which puts the N-best list in a new order
    rescoring_weight: float = 0.0


@dataclass
class ScoringConfig:
    """How the test sets of a run are scored: resuming does not compare it."""

    alignment: str = "levenshtein"  # levenshtein (jiwer's and Kaldi's counts) | sclite
    unit: str = "word"  # word | character (for scripts that do not part words)
    folding: str = ""  # timit39, or a file: phones that count as the same
    normalizers: list[str] = field(default_factory=list)  # basic, english: further scores beside the raw one
    fields: list[str] = field(default_factory=list)  # of the manifest, to break results down by


@dataclass
class MachineConfig:
    """What changes from machine to machine and not the result: resuming does not compare it."""

    accelerator: str = "auto"  # auto | cpu | cuda
    precision: str = "auto"  # auto (bf16 where the hardware has it) | float32 | bf16
    num_threads: int = 0  # that compute; 0: all cores. Small models are fastest on one
    microbatch_seconds: float = 0.0  # padded audio that a process computes at once; 0: its whole share of a batch
    num_workers: int = -1  # threads that load ahead; -1: one a core that does not compute; 0: all load between steps
    cache_gib: float = 2.0  # of decoded audio in memory


@dataclass
class Config:
    """A run."""

    recipe: str = "custom"
    run_dir: str = MISSING
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)


Schema = TypeVar("Schema")


def register() -> None:
    """Make the schema known to Hydra as `schema`, on which configs/config.yaml builds."""
    ConfigStore.instance().store(name="schema", node=Config)


def resolve(config: DictConfig, schema: type[Schema]) -> Schema:
    """Hydra's composed config as the plain dataclasses of its schema, every interpolation resolved."""
    try:
        resolved = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'config'}: {str(error).splitlines()[0]}") from error
    assert isinstance(resolved, schema)
    return resolved


def to_json(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON types."""
    return dataclasses.asdict(config)


def from_json(schema: type[Schema], values: Any, where: str = "config") -> Schema:
    """Build a config dataclass from JSON, strictly: unknown, missing and mistyped fields raise `ConfigError`.

    Only what is marked `LATER` may be missing, and has its default then.
    Model directories come from strangers: this reads values and can do nothing else, no interpolation, no imports.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected an object, got {type(values).__name__}")
    hints = typing.get_type_hints(schema)
    if unknown := sorted(set(values) - set(hints)):
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}; known are {', '.join(hints)}")
    required = {f.name for f in dataclasses.fields(schema) if LATER not in f.metadata}  # type: ignore[arg-type]
    if missing := sorted(required - set(values)):
        raise ConfigError(f"{where}: option {missing[0]!r} is missing")
    return schema(**{name: _checked(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _checked(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return from_json(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list and isinstance(value, list):
        return [_checked(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (str, bool, int, float) and type(value) is hint:
        return value
    raise ConfigError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {json.dumps(value, default=str)}")


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested configs, a line each: `optim.lr: 0.001 -> 0.002`."""
    lines = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key, "(absent)"), new.get(key, "(absent)")
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += difference(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines
