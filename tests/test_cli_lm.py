"""`asr lm …` as a user types it. What the numbers should be is for tests/ngram; here they must arrive."""

import gzip
import sys

import pytest
from typer.testing import CliRunner

from asr.cli.lm import app
from asr.errors import ConfigError, LanguageModelError, OutputError, TextError
from asr.ngram.arpa_reader import read_arpa
from asr.ngram.model import load_ngram
from asr.text.tokenizer import CharTokenizer

TEXT = "the cat sat\nthe cat ran\na dog sat\nthe dog ran\n"


def asr_lm(*arguments, text=None):
    """Run a command; gives its standard output, and raises what it raises."""
    result = CliRunner().invoke(app, list(map(str, arguments)), input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with text.txt and the model of it, lm.arpa."""
    folder = tmp_path_factory.mktemp("lm")
    (folder / "text.txt").write_text(TEXT)
    asr_lm("train", folder / "text.txt", "--order", "3", "--discount-fallback", "-o", folder / "lm.arpa")
    return folder


def test_train_writes_what_the_name_says(folder, tmp_path):
    arguments = ["train", folder / "text.txt", "--order", "3", "--discount-fallback", "-o"]
    output = asr_lm(*arguments, tmp_path / "lm.lm")
    # <unk> <s> </s> the cat sat ran a dog
    assert "9 1-grams" in output
    asr_lm(*arguments, tmp_path / "lm.arpa.gz")
    assert gzip.decompress((tmp_path / "lm.arpa.gz").read_bytes()) == (folder / "lm.arpa").read_bytes()
    compiled, read = load_ngram(tmp_path / "lm.lm"), load_ngram(tmp_path / "lm.arpa.gz")
    assert compiled.num_ngrams == read.num_ngrams
    assert compiled.score("the cat sat").tolist() == pytest.approx(read.score("the cat sat").tolist(), abs=1e-5)


def test_train_prunes_and_limits_the_vocabulary(folder, tmp_path):
    options = ["--order", "2", "--discount-fallback"]
    asr_lm("train", folder / "text.txt", *options, "--prune", "0 1", "-o", tmp_path / "pruned.arpa")
    pruned = read_arpa(tmp_path / "pruned.arpa")
    # <s> the, the cat, sat </s>, ran </s>: the others come once
    assert len(pruned.orders[1].words) == 4
    asr_lm("train", folder / "text.txt", *options, "--vocab-limit", "1", "-o", tmp_path / "limited.arpa")
    assert read_arpa(tmp_path / "limited.arpa").vocab == ("<unk>", "<s>", "</s>", "the")


def test_train_over_tokens(tmp_path):
    CharTokenizer(tuple(" acdeghnorst")).save(tmp_path / "tokenizer.json")
    (tmp_path / "text.txt").write_text(TEXT + "a  cat\nbig cat\n")
    arguments = ["train", tmp_path / "text.txt", "--order", "2", "--discount-fallback", "-o", tmp_path / "lm.arpa"]
    result = CliRunner().invoke(app, list(map(str, [*arguments, "--tokenizer", tmp_path / "tokenizer.json"])))
    assert result.exit_code == 0, result.output
    assert "left out 1 lines" in result.stderr
    assert "'b', 'i'" in result.stderr
    tables = read_arpa(tmp_path / "lm.arpa")
    assert tables.vocab == ("<unk>", "<s>", "</s>", "<space>", *"acdeghnorst")
    # a directory is where its tokenizer.json lies; "cat ran" are 7 tokens
    (tmp_path / "dev.txt").write_text("cat ran\n")
    output = asr_lm("perplexity", tmp_path / "lm.arpa", tmp_path / "dev.txt", "--tokenizer", tmp_path)
    assert output.splitlines()[1].split()[-6:-2] == ["1", "7", "0", "0.00%"]


def test_compile_and_query(folder, tmp_path):
    output = asr_lm("compile", folder / "lm.arpa", "-o", tmp_path / "lm.lm")
    assert "9 1-grams" in output
    queried = asr_lm("query", tmp_path / "lm.lm", text="the cat\nbird\n")
    assert asr_lm("query", folder / "lm.arpa", text="the cat\nbird\n") == queried
    lines = [line.split("\t") for line in queried.splitlines()]
    assert [line[:2] for line in lines[:3]] == [["the", "2"], ["cat", "3"], ["</s>", "1"]]
    assert [line[::3] for line in lines[4:6]] == [["bird", "OOV"], ["</s>"]]
    log10_probs = [float(line[2]) for line in (*lines[:3], *lines[4:6])]
    assert lines[3] == [f"Total: {sum(log10_probs[:3]):.6f} OOV: 0"]
    assert lines[7] == ["Perplexity including OOVs:", f"{10 ** (-sum(log10_probs) / 5):.4f}"]
    without = 10 ** (-(sum(log10_probs) - log10_probs[3]) / 4)
    assert lines[8:] == [["Perplexity excluding OOVs:", f"{without:.4f}"], ["OOVs:", "1"], ["Tokens:", "5"]]


def test_query_reads_files_too(folder, tmp_path):
    (tmp_path / "dev.txt").write_text("the cat\n")
    expected = asr_lm("query", folder / "lm.arpa", text="the cat\n")
    assert asr_lm("query", folder / "lm.arpa", "--sentences", tmp_path / "dev.txt") == expected
    (tmp_path / "dev.txt").write_text("the cat\nthe </s> cat\n")
    with pytest.raises(TextError, match=r"dev\.txt:2: expected sentences without <s> and </s>"):
        asr_lm("query", folder / "lm.arpa", "--sentences", tmp_path / "dev.txt")


def test_perplexity_of_several_texts(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "dev.txt").write_text("the bird\n\n")
    output = asr_lm("perplexity", folder / "lm.arpa", tmp_path / "dev.txt", folder / "text.txt")
    rows = [line.split() for line in output.splitlines()]
    assert rows[0] == ["text", "sentences", "words", "OOVs", "OOV", "rate", "perplexity", "without", "OOVs"]
    assert [row[1:5] for row in rows[1:]] == [
        ["2", "2", "1", "50.00%"],
        ["4", "12", "0", "0.00%"],
        ["6", "14", "1", "7.14%"],
    ]
    score = load_ngram(folder / "lm.arpa").score
    log_prob = sum(score(sentence).sum() for sentence in TEXT.splitlines())
    assert float(rows[2][5]) == float(rows[2][6]) == pytest.approx(2.718281828 ** (-log_prob / 16), abs=0.006)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["-o", "lm.bin"], ConfigError, "-o: expected a name that ends in one of .*, got 'lm.bin'"),
        (["-o", "lm.lm", "--prune", "a"], ConfigError, "--prune: expected numbers"),
        (["-o", "lm.lm", "--dev", "x"], ConfigError, "--dev does nothing with --type ngram"),
        (["-o", "lm", "--type", "recurrent", "--order", "3"], ConfigError, "--order does nothing"),
        (["-o", "lm", "--type", "recurrent", "--discount-fallback"], ConfigError, "--discount-fallback does nothing"),
        (["-o", "lm.lm", "--tokenizer", "t", "--vocab-limit", "9"], ConfigError, "--vocab-limit does nothing"),
        (["-o", "lm.lm"], LanguageModelError, "discount"),
    ],
)
def test_train_refuses(folder, tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        asr_lm("train", folder / "text.txt", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_no_token_spells_says_so(folder, tmp_path):
    CharTokenizer.train(TEXT.splitlines()).save(tmp_path / "tokenizer.json")
    (tmp_path / "upper.txt").write_text(TEXT.upper() + "\n\n")
    arguments = ["--tokenizer", tmp_path / "tokenizer.json", "-o", tmp_path / "lm.lm"]
    with pytest.raises(TextError, match=r"can spell; none of 4 lines is: .*'T'.*another case"):
        asr_lm("train", tmp_path / "upper.txt", *arguments)


def test_query_and_perplexity_see_the_same_words(folder, tmp_path):
    """A no-break space is a character of a word, as for KenLM; only ASCII white space separates words."""
    (tmp_path / "dev.txt").write_text("the\u00a0bird sang\n")
    output = asr_lm("query", folder / "lm.arpa", "--sentences", tmp_path / "dev.txt")
    assert [line.split("\t")[0] for line in output.splitlines()[:3]] == ["the\u00a0bird", "sang", "</s>"]
    assert asr_lm("perplexity", folder / "lm.arpa", tmp_path / "dev.txt").splitlines()[1].split()[2] == "2"


def test_compile_refuses_what_is_compiled_or_broken(folder, tmp_path):
    asr_lm("compile", folder / "lm.arpa", "-o", tmp_path / "lm.lm")
    with pytest.raises(ConfigError, match=r"lm\.lm is compiled already"):
        asr_lm("compile", tmp_path / "lm.lm", "-o", tmp_path / "again.lm")
    (tmp_path / "cut.arpa").write_bytes((folder / "lm.arpa").read_bytes()[: -len("\n\\end\\\n")])
    with pytest.raises(LanguageModelError, match=r"cut\.arpa:\d+: the file is cut short"):
        asr_lm("compile", tmp_path / "cut.arpa", "-o", tmp_path / "again.lm")
    assert not (tmp_path / "again.lm").exists()


def test_recurrent_models_get_their_options(monkeypatch, tmp_path):
    called = []
    module = type(sys)("asr.cli.lm_recurrent")
    module.train_recurrent = lambda *arguments: called.append(arguments) or tmp_path / "model"
    monkeypatch.setitem(sys.modules, "asr.cli.lm_recurrent", module)
    options = ["--dev", "dev.txt", "-o", tmp_path, "--tokenizer", "it's"]
    output = asr_lm("train", "a.txt", "b=c.txt", "training.epochs=3", "--type", "recurrent", *options)
    ((texts, dev, directory, overrides),) = called
    assert (list(map(str, texts)), list(map(str, dev)), directory) == (["a.txt"], ["dev.txt"], tmp_path)
    assert overrides == ["b=c.txt", "training.epochs=3", "tokenizer='it\\'s'"]
    assert output == f"written: {tmp_path / 'model'}\n"


@pytest.mark.parametrize("command", ["train", "compile", "query", "perplexity"])
def test_every_help_has_examples(command):
    assert "Examples" in asr_lm(command, "--help")


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_a_model_is_never_written_over_what_it_is_made_from(folder, tmp_path, link):
    source, output = tmp_path / "lm.arpa", tmp_path / "lm.arpa"
    source.write_bytes((folder / "lm.arpa").read_bytes())
    if link:
        output = tmp_path / "link.arpa"
        getattr(output, link)(source)
    before = source.read_bytes()
    with pytest.raises(OutputError, match="which is read; name another file"):
        asr_lm("compile", source, "-o", output)
    with pytest.raises(OutputError, match="which is read; name another file"):
        asr_lm("train", folder / "text.txt", source, "-o", output)
    with pytest.raises(OutputError, match="which is read; name another file"):
        asr_lm("train", folder / "text.txt", "--type", "recurrent", "--dev", source, "-o", output)
    assert source.read_bytes() == before
