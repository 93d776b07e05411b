"""Speed against references, measured in the same run: `python tools/bench.py NAME [--json]`.

features    seconds of audio a second: ours, librosa, kaldi-native-fbank, torchaudio's Kaldi features
recurrent   the recurrent stack over PyTorch's bidirectional LSTM on padding, and packed
training    training from audio files over the bare model step on the same batches; padding
decoding    the beam search over flashlight-text's, also with a word 4-gram; search errors; --busy: a busy machine
scoring     words a second with jiwer's and with sclite's costs, and over jiwer
manifest    a manifest of ten million lines: opened, opened again, read, planned; memory
"""

import argparse
import importlib
import json
from pathlib import Path

BENCHMARKS = ("features", "recurrent", "training", "decoding", "scoring", "manifest")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = {"argument_default": argparse.SUPPRESS}  # what is not said is the benchmark's own default
    decoding = parser.add_argument_group("decoding", **options)
    decoding.add_argument("--emissions", type=Path, help="log-probabilities saved by `asr evaluate --save-log-probs`")
    decoding.add_argument("--lm", type=Path, help="a word n-gram model in ARPA format")
    decoding.add_argument("--busy", action="store_true", help="ours alone, and beside a busy loop for each core")
    recurrent = parser.add_argument_group("recurrent", **options)
    recurrent.add_argument("--precision", choices=("float32", "bf16", "float16"), help="default float32")
    recurrent.add_argument("--layers", type=int, help="default 4")
    recurrent.add_argument("--hidden", type=int, help="cells a direction; default 320")
    recurrent.add_argument("--frames", type=int, help="of an utterance, at least a third fewer of others; default 300")
    training = parser.add_argument_group("training", **options)
    training.add_argument("--model", choices=("4x320", "5x512", "4x1024"), help="layers x cells; default 4x320")
    training.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default auto; recurrent's too")
    training.add_argument(
        "--manifest", type=Path, help="what to train on; default: mini_english's, from ASR_DATA; else noise"
    )
    training.add_argument("--batches", type=int, help="in a block that is timed; default 8")
    training.add_argument("--seconds", type=float, help="about how long, for files and for the cache each; default 60")
    training.add_argument(
        "--set", dest="overrides", action="append", metavar="KEY=VALUE", help="an override of the recipe's config"
    )
    return parser


def main() -> None:
    parser = make_parser()
    arguments = vars(parser.parse_args())
    name, as_json = arguments.pop("name"), arguments.pop("json")
    allowed = {
        "recurrent": ("device", "precision", "layers", "hidden", "frames"),
        "decoding": ("emissions", "lm", "busy"),
        "training": ("model", "device", "manifest", "batches", "seconds", "overrides"),
    }
    if foreign := sorted(set(arguments) - set(allowed.get(name, ()))):
        parser.error(f"--{foreign[0]} is not for the benchmark {name}")
    figures = importlib.import_module(f"bench_{name}").run(**arguments)
    if as_json:
        print(json.dumps(figures))
        return
    for key, figure in figures.items():
        print(f"{key:>40}  {figure if isinstance(figure, str) else format(figure, '.4g')}")


if __name__ == "__main__":
    main()
