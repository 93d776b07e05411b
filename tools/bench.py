"""Speed against references, measured in the same run: `python tools/bench.py NAME [--json]`.

features    seconds of audio a second: ours, librosa, kaldi-native-fbank, torchaudio's Kaldi features
recurrent   the recurrent stack over PyTorch's bidirectional LSTM on padding, and packed
"""

import argparse
import importlib
import json

BENCHMARKS = ("features", "recurrent")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    arguments = parser.parse_args()
    figures = importlib.import_module(f"bench_{arguments.name}").run()
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(f"{name:>24}  {figure:.4g}")


if __name__ == "__main__":
    main()
