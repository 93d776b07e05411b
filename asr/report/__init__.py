"""`report.html`: a scored test set as one self-contained page that anybody can open, search, hear and print.

illustrations   what there is to hear and see of an utterance: audio, frame posteriors, alignments
figures         an utterance's spectrogram and posteriors as a picture; error rates of groups as bars
clips           audio that every browser plays
page            all of it put into page.html.j2, with style.css and script.js

The page asks nothing of any network and its Content-Security-Policy forbids it to. Whatever a transcript holds is
shown as text: the template escapes everything, and the script makes text nodes only.
"""
