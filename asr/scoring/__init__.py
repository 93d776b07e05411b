"""Scoring: how many words are wrong, how sure that is, and which ones.

- `errors`: references and hypotheses -> `Score` (WER, CER, sentence errors, an alignment for each utterance)
- `significance`: `Score` -> bootstrap interval of the WER, over speakers or utterances
- `calibration`: are confidences right as often as they say; the temperature that makes them so
- `display`: `Score` -> `score.json`, rows of `hypotheses.jsonl`, aligned differences, summary table
"""
