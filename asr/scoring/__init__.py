"""Scoring: how many words are wrong, how sure that is, and which ones.

From files to figures:

- `reading`: two files -> references and hypotheses of the same ids; by `transcripts` (TRN, Kaldi, JSON lines, lines)
  and `time_marked` (STM, CTM)
- `normalizers`, `phones`: spellings and phones that count as the same
- `errors`: references and hypotheses -> `Score` (WER, CER, sentence errors, an alignment for each utterance); by
  `alignment` (costs of jiwer and sclite, compiled in `alignment_kernel`) and `networks` (alternations)
- `scored_set`, `assessment`: a `Score` with what is known of its utterances, from every side
- `breakdown`: by speaker, duration, or any field
- `significance`, `matched_pairs`: intervals, and whether two systems differ
- `calibration`: are confidences right as often as they say; the temperature that makes them so

From figures to what is read:

- `display`: `score.json`, rows of `hypotheses.jsonl`, aligned differences, tables; `runs` reads the files back
- `comparison_display`: two systems side by side, and what that means in words
- `sclite` (`sclite_sys`, `sclite_pra`, `sclite_dtl`), `toolkit_formats`: the reports of NIST, Kaldi, ESPnet and the
  Open ASR leaderboard. The page for a browser is `asr.report`.
"""
