"""Speed against references, measured in the same run: `python tools/bench.py NAME [--json]`.

features    seconds of audio a second: ours, librosa, kaldi-native-fbank, torchaudio's Kaldi features
recurrent   the recurrent stack over PyTorch's bidirectional LSTM on padding, and packed
decoding    the beam search over flashlight-text's, with and without a word 4-gram; search errors
scoring     words a second with jiwer's and with sclite's costs, and over jiwer
"""

import argparse
import importlib
import json
from pathlib import Path

BENCHMARKS = ("features", "recurrent", "decoding", "scoring", "manifest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    decoding = parser.add_argument_group("decoding")
    decoding.add_argument("--emissions", type=Path, help="log-probabilities saved by `asr evaluate --save-log-probs`")
    decoding.add_argument("--lm", type=Path, help="a word n-gram model in ARPA format")
    arguments = parser.parse_args()
    options = {"emissions": arguments.emissions, "lm": arguments.lm} if arguments.name == "decoding" else {}
    if arguments.name != "decoding" and (arguments.emissions or arguments.lm):
        parser.error("--emissions and --lm are for the benchmark of decoding")
    figures = importlib.import_module(f"bench_{arguments.name}").run(**options)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(f"{name:>40}  {figure:.4g}")


if __name__ == "__main__":
    main()
