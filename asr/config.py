"""Every option there is, with its default and its range. Hydra fills these in; nothing below this layer knows Hydra.

Units are in the names. The folders of `configs/` hold named deltas over these defaults, one group a folder.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from asr.data.findings import MAX_UNUSABLE_SHARE
from asr.options import Conflict, check, difference, from_json, option, to_json

__all__ = ["difference", "from_json", "to_json"]  # from asr/options.py; the others are made here

LARGEST_SEED = 2**32 - 1
CELLS = ("rnn_tanh", "gru", "lstm")


@dataclass
class DataConfig:
    """Manifests, and what `asr prepare` needs to make them."""

    name: str = option("manifests", not_empty=True)  # a variant of the recipe's corpus
    dir: str = option("data", not_empty=True)  # where prepared manifests and audio go
    train: list[str] = option(MISSING, not_empty=True)
    dev: list[str] = option(MISSING, not_empty=True)
    test: dict[str, str] = option({}, not_empty=True)  # name of the set -> manifest
    options: dict[str, Any] = option({})  # the recipe's own, see its prepare.py
    sample_rate: int = option(16000, at_least=1000, at_most=384_000)
    min_duration_seconds: float = option(0.05, at_least=0)
    max_duration_seconds: float = option(35.0, above=0)
    # Utterances left out because something is wrong with them (audio that is missing, damaged or shorter than stated, a
    # text that the model cannot spell or align), over all of a set: with more the run ends.
    max_unusable_share: float = option(MAX_UNUSABLE_SHARE, at_least=0, at_most=1)
    # padded audio in one batch, of all processes together; 0: one utterance a batch
    batch_seconds: float = option(160.0, at_least=0)
    sorted_epochs: int = option(0, at_least=0)  # so many first epochs go from short to long; 1: SortaGrad
    growing_epochs: int = option(0, at_least=0)  # so many first epochs use the shortest utterances only, more with each
    first_share: float = option(0.1, above=0, at_most=1)  # of the utterances, in the first of those epochs

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together."""
        yield from _ordered(self, "min_duration_seconds", "max_duration_seconds")
        for name in self.test:
            if not name or name != name.strip(". ") or any(c in "/\\:\0" or not c.isprintable() for c in name):
                yield Conflict("test", f"expected names of sets that can name a folder, got {name!r}")


@dataclass
class TextConfig:
    """Normalisation and tokens."""

    case: str = option("lower", choices=["lower", "upper", "keep"])
    # word: for small closed vocabularies
    tokenizer: str = option("char", choices=["char", "bpe", "phone", "word"])
    vocab_size: int = option(500, at_least=2, at_most=1_000_000)  # bpe only
    lexicon: str = option("")  # phone only: pronunciations; without it transcripts are phones already

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together."""
        if self.lexicon and self.tokenizer != "phone":
            yield Conflict("lexicon", f"expected none beside tokenizer={self.tokenizer}, got {self.lexicon!r}")


@dataclass
class FeaturesConfig:
    """Kaldi's conventions; see asr/features.py."""

    name: str = option("logmel", choices=["logmel", "mfcc"])
    num_mels: int = option(80, at_least=3, at_most=1024)
    num_ceps: int = option(13, at_least=1, at_most=1024)  # mfcc only
    frame_length_ms: float = option(25.0, above=0, at_most=1000)
    frame_shift_ms: float = option(10.0, above=0, at_most=1000)
    window: str = option("povey", choices=["povey", "hamming", "hanning", "rectangular", "blackman"])
    preemphasis: float = option(0.97, at_least=0, at_most=1)
    dither: float = option(0.0, at_least=0, at_most=32768)  # standard deviation, in steps of 16-bit samples
    low_freq: float = option(20.0, at_least=0, at_most=192_000)
    # 0 or less: counted from half the sample rate
    high_freq: float = option(0.0, at_least=-192_000, at_most=192_000)
    use_energy: bool = option(False)
    deltas: int = option(0, at_least=0, at_most=2)  # 0, 1 (Δ) or 2 (Δ and ΔΔ)
    # adaptive: global, then by the utterance
    normalize: str = option("utterance", choices=["none", "utterance", "global", "adaptive"])

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together."""
        if self.name == "mfcc" and self.num_ceps > self.num_mels:
            yield Conflict("num_ceps", f"expected no more than num_mels, {self.num_mels}, got {self.num_ceps}")
        yield from _ordered(self, "frame_shift_ms", "frame_length_ms")
        if self.high_freq > 0:
            yield from _ordered(self, "low_freq", "high_freq")


@dataclass
class AugmentConfig:
    """What is done to the training data, and to no other."""

    speeds: list[float] = option([1.0], at_least=0.1, at_most=10, not_empty=True)
    num_freq_masks: int = option(0, at_least=0, at_most=1000)
    max_freq_width: int = option(27, at_least=0, at_most=1_000_000)  # features
    num_time_masks: int = option(0, at_least=0, at_most=1000)
    max_time_width: int = option(40, at_least=0, at_most=1_000_000)  # feature frames
    max_time_share: float = option(0.2, at_least=0, at_most=1)
    pause_probability: float = option(0.0, at_least=0, at_most=1)  # before an utterance, and after it
    # The logarithm of a pause's length is spread evenly from a tenth of a second to this.
    max_pause_seconds: float = option(10.0, at_least=0.1, at_most=600)
    join_probability: float = option(0.0, at_least=0, at_most=1)  # of another utterance after it, with a pause between
    nonspeech_probability: float = option(0.0, at_least=0, at_most=0.9)  # of sounds without words instead of it
    noise: list[str] = option([])  # manifests of noise recordings
    noise_probability: float = option(0.0, at_least=0, at_most=1)
    min_snr_db: float = option(5.0, at_least=-100, at_most=100)
    max_snr_db: float = option(30.0, at_least=-100, at_most=100)
    reverberation_probability: float = option(0.0, at_least=0, at_most=1)
    rooms: list[str] = option([])  # manifests of room impulse responses; none: synthesised ones
    # this and the next three are for synthesised rooms
    min_rt60_seconds: float = option(0.15, at_least=0.01, at_most=30)
    max_rt60_seconds: float = option(0.8, at_least=0.01, at_most=30)
    min_direct_db: float = option(0.0, at_least=-100, at_most=100)  # the direct path over all reflections together
    max_direct_db: float = option(15.0, at_least=-100, at_most=100)
    label_smoothing: float = option(0.0, at_least=0, below=1)  # share of the divergence from the prior in the loss
    smoothing_prior: str = option("uniform", choices=["uniform", "unigram"])

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together."""
        for low, high in (("min_snr_db", "max_snr_db"), ("min_rt60_seconds", "max_rt60_seconds")):
            yield from _ordered(self, low, high)
        yield from _ordered(self, "min_direct_db", "max_direct_db")
        if self.noise_probability > 0 and not self.noise:
            yield Conflict("noise", f"expected manifests beside noise_probability={self.noise_probability:g}, got none")


@dataclass
class FrontendConfig:
    """What makes fewer frames of the features."""

    name: str = option("stack", choices=["none", "stack", "conv"])
    stack: int = option(3, at_least=1, at_most=100)
    stride: int = option(3, at_least=1, at_most=100)
    channels: list[int] = option([32, 32], at_least=1, at_most=4096, not_empty=True)  # conv only
    time_strides: list[int] = option([2, 2], at_least=1, at_most=100, not_empty=True)  # conv only
    batch_norm: bool = option(False, later=True)  # conv only

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together."""
        if self.name == "stack" and self.stride > self.stack:
            yield Conflict(
                "stride", f"expected no more than stack, {self.stack}, so that no frame is lost, got {self.stride}"
            )
        if self.name == "conv" and len(self.channels) != len(self.time_strides):
            yield Conflict(
                "time_strides",
                f"expected one for each of {len(self.channels)} channels {self.channels}, got {self.time_strides}",
            )


@dataclass
class ModelConfig:
    """The acoustic model."""

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    cell: str = option("lstm", choices=CELLS)
    hidden_size: int = option(320, at_least=1, at_most=16384)
    num_layers: int = option(4, at_least=1, at_most=100)
    bidirectional: bool = option(True)
    merge: str = option("concat", choices=["concat", "sum"])
    projection_size: int = option(0, at_least=0, at_most=32768)  # 0: none
    layer_norm: bool = option(False)
    batch_norm: bool = option(False, later=True)
    norm_place: str = option("output", choices=["output", "input"], later=True)  # of each recurrent layer
    residual: bool = option(False)
    dropout: float = option(0.1, at_least=0, below=1)
    variational_dropout: bool = option(False, later=True)  # one mask for a whole sequence
    weight_drop: float = option(0.0, at_least=0, below=1, later=True)  # of the recurrent weights
    initialization: str = option("orthogonal", choices=["orthogonal", "uniform"])

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together."""
        if self.layer_norm and self.batch_norm:
            yield Conflict("batch_norm", "expected false beside layer_norm=true, got true")
        if self.norm_place == "input" and not (self.layer_norm or self.batch_norm):
            yield Conflict("norm_place", "expected layer_norm=true or batch_norm=true beside input, got neither")


@dataclass
class OptimConfig:
    """The optimiser and its schedule."""

    name: str = option("adamw", choices=["adamw", "sgd"])
    lr: float = option(1e-3, above=0, at_most=1000)
    weight_decay: float = option(1e-2, at_least=0, at_most=1000)
    beta2: float = option(0.98, at_least=0, below=1)  # adamw only
    momentum: float = option(0.9, at_least=0, below=1)  # sgd only
    clipping: str = option("norm", choices=["norm", "value", "adaptive"])
    # the limit: of the norm; of a component; of a unit's norm as a share of its weights'
    clip_norm: float = option(5.0, above=0)
    # each after the warm-up
    schedule: str = option("cosine", choices=["cosine", "one_cycle", "plateau", "newbob", "constant"])
    warmup_share: float = option(0.1, at_least=0, at_most=1)  # of the run: the rate rises during so much of it …
    warmup_steps: int = option(200, at_least=0)  # … and during no more than so many steps; 0: no warm-up
    # cosine and one_cycle end there, plateau and newbob stop there
    final_lr_share: float = option(0.01, at_least=0, at_most=1)
    plateau_factor: float = option(0.5, above=0, below=1)  # newbob's too
    plateau_patience: int = option(2, at_least=1)  # epochs
    # relative improvement of an epoch below which the rate begins to fall
    newbob_threshold: float = option(0.005, at_least=0, below=1)
    peak_share: float = option(0.3, above=0, below=1)  # one_cycle only: of the run, until the rate is highest
    start_lr_share: float = option(0.04, at_least=0, at_most=1)  # one_cycle only
    # cosine and one_cycle: the share of lr at which a run begins again that had ended and is given more epochs
    restart_share: float = option(0.3, at_least=0, at_most=1)
    # standard deviation of Gaussian noise on the weights in each step; 0: none
    weight_noise: float = option(0.0, at_least=0, at_most=1000)
    # of the moving average of the weights that is validated and exported; 0: none
    ema_decay: float = option(0.0, at_least=0, below=1)


@dataclass
class TrainingConfig:
    """The loop."""

    epochs: int = option(40, at_least=1)
    # what is lowest on the development set in the best epoch
    criterion: str = option("cer", choices=["cer", "wer", "loss"])
    patience: int = option(0, at_least=0)  # epochs without a better one until it stops; 0: never
    # the exported model is the mean of up to this many best epochs, by validation loss
    average_best: int = option(5, at_least=1)
    checkpoint_minutes: float = option(10.0, at_least=0)
    checkpoint_steps: int = option(0, at_least=0)  # a checkpoint after so many steps, too; 0: by minutes only
    log_every_steps: int = option(10, at_least=1)  # also how often the figures of steps are read back from the device
    num_samples: int = option(3, at_least=0)  # reference and hypothesis pairs, after epochs 1, 2, 4, 8, … and the last
    # gradient norms by layer and gates into the history; 0: never
    inspect_every_steps: int = option(0, at_least=0)
    nonfinite_patience: int = option(10, at_least=1)  # successive steps with a non-finite gradient until it stops
    initial_model: str = option("")  # a model directory, whose weights a new run starts from


@dataclass
class DecodingConfig:
    """How log-probabilities become text. Weights and bonuses belong to natural logarithms; all but greedy's are beam's.

    Files are paths in a run's config; in a model directory they are names of files inside it, which the export puts
    there.
    """

    name: str = option("greedy", choices=["greedy", "beam"])
    beam_width: int = option(100, at_least=1, at_most=1_000_000)
    nbest: int = option(1, at_least=1, at_most=1_000_000)  # hypotheses kept, the best among them
    language_model: str = option("")  # n-grams: ARPA, or what `asr lm compile` makes of it
    lm_weight: float = option(0.0, at_least=0, at_most=1000)  # above zero with a language model, and only then
    word_bonus: float = option(0.0, at_least=-1000, at_most=1000)  # added for each word
    # added for every eight characters of words that the language model lacks, or for each such token
    unknown_penalty: float = option(-10.0, at_least=-1000, at_most=1000)
    lexicon: str = option("")  # the only words to be found: one a line, further columns ignored
    hotwords: list[str] = option([])  # words and phrases to be favoured
    hotword_boost: float = option(5.0, at_least=0, at_most=1000)  # added for each of their words
    max_tokens_per_frame: int = option(0, at_least=0)  # the likeliest ones are considered; 0: all
    token_floor: float = option(0.0, at_least=-1000, at_most=0)  # ln p below which a token is not considered; 0: off
    blank_skip: float = option(1.0, above=0, at_most=1)  # frames whose blank is likelier than this are skipped; 1: none
    confidence_temperature: float = option(1.0, above=0, at_most=1000)  # from `asr calibrate`; greedy's too
    rescoring_model: str = option("")  # a recurrent language model, which puts the N-best list in a new order
    rescoring_weight: float = option(0.0, at_least=0, at_most=1000)

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together, or would do nothing."""
        if self.name == "greedy":
            for name in ("language_model", "lexicon", "hotwords", "rescoring_model"):
                if idle := getattr(self, name):
                    yield Conflict(name, f"expected none beside name=greedy, where it does nothing, got {idle}")
            if self.nbest > 1:
                yield Conflict("nbest", f"expected 1 beside name=greedy, which finds one, got {self.nbest}")
            return
        for file, weight in (("language_model", "lm_weight"), ("rescoring_model", "rescoring_weight")):
            if bool(getattr(self, file)) != (getattr(self, weight) > 0):
                yield Conflict(
                    weight,
                    f"expected a number above zero with {file}, and only then, "
                    f"got {getattr(self, weight):g} with {getattr(self, file) or 'none'}",
                )
        if self.nbest > self.beam_width:
            yield Conflict("nbest", f"expected no more than beam_width, {self.beam_width}, got {self.nbest}")


@dataclass
class ScoringConfig:
    """How the test sets of a run are scored: resuming does not compare it."""

    # the fewest errors, as jiwer and Kaldi count, NIST's, or jiwer's own
    alignment: str = option("levenshtein", choices=["levenshtein", "sclite", "jiwer"])
    unit: str = option("word", choices=["word", "character"])  # character: for scripts that do not part words
    folding: str = option("")  # timit39, or a file: phones that count as the same
    normalizers: list[str] = option([], choices=["basic", "english"])  # further scores beside the raw one
    fields: list[str] = option([])  # of the manifest, to break results down by

    def conflicts(self) -> Iterator[Conflict]:
        """Options that do not go together."""
        if self.folding and self.normalizers:
            yield Conflict("normalizers", f"expected none beside folding={self.folding}, which is for phones")
        if self.folding and self.unit != "word":
            yield Conflict("unit", f"expected word beside folding={self.folding}, which is for phones, got {self.unit}")


@dataclass
class MachineConfig:
    """What changes from machine to machine and not the result: resuming does not compare it."""

    accelerator: str = option("auto", choices=["auto", "cpu", "cuda"])
    precision: str = option(
        "auto", choices=["auto", "float32", "bf16"]
    )  # auto: bf16 where matrices of it have units of their own
    num_threads: int = option(
        0, at_least=0, at_most=1024
    )  # that compute; 0: all cores. Small models are fastest on one
    # padded audio that a process computes at once; 0: its whole share of a batch
    microbatch_seconds: float = option(0.0, at_least=0)
    # threads that load ahead; -1: one a core that does not compute; 0: all load between steps
    num_workers: int = option(-1, at_least=-1, at_most=1024)
    cache_gib: float = option(2.0, at_least=0)  # of decoded audio in memory


@dataclass
class Config:
    """A run."""

    recipe: str = option("custom", not_empty=True)
    run_dir: str = option(MISSING, not_empty=True)
    seed: int = option(1, at_least=0, at_most=LARGEST_SEED)
    fit: list[str] = option([])  # options that follow from the amount of speech: see asr/fitting.py
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

    def conflicts(self) -> Iterator[Conflict]:
        """Options of different groups that do not go together."""
        rate, features = self.data.sample_rate, self.features
        if (top := max(features.low_freq, features.high_freq)) > rate / 2:
            name = "high_freq" if features.high_freq == top else "low_freq"
            yield Conflict(
                f"features.{name}", f"expected no more than half of data.sample_rate, {rate / 2:g}, got {top:g}"
            )
        if features.high_freq <= 0 and rate / 2 + features.high_freq <= features.low_freq:
            yield Conflict(
                "features.high_freq",
                f"expected to leave frequencies above low_freq, {features.low_freq:g} Hz, "
                f"below half of data.sample_rate, {rate / 2:g} Hz, got {features.high_freq:g}",
            )
        if (samples := int(rate * 0.001 * features.frame_shift_ms)) < 1:
            yield Conflict("features.frame_shift_ms", f"expected at least a sample at {rate} Hz, got {samples}")
        if (samples := int(rate * 0.001 * features.frame_length_ms)) < 2:
            yield Conflict("features.frame_length_ms", f"expected at least 2 samples at {rate} Hz, got {samples}")


def _ordered(config: Any, low: str, high: str) -> Iterator[Conflict]:
    """A conflict where the option called `low` is above the one called `high`."""
    if getattr(config, low) > getattr(config, high):
        yield Conflict(low, f"expected no more than {high}, {getattr(config, high):g}, got {getattr(config, low):g}")


# ---- from Hydra -----------------------------------------------------------------------------------------------------

Schema = TypeVar("Schema")


def register() -> None:
    """Make the schema known to Hydra as `schema`, on which configs/config.yaml builds."""
    ConfigStore.instance().store(name="schema", node=Config)


def resolve(config: DictConfig, schema: type[Schema]) -> Schema:
    """Hydra's composed config as the plain dataclasses of its schema, every interpolation resolved.

    Raises:
        ConfigError: an option is out of its range, or does not go with others.
        OmegaConfBaseException: a value is missing, or an interpolation leads nowhere; asr/cli/compose.py explains it.
    """
    resolved = OmegaConf.to_object(config)
    assert isinstance(resolved, schema)
    check(resolved)
    return resolved
