"""Names of benchmarks are resolved through the real recipes; nothing is prepared unless a test does so."""

import pytest

from asr.benchmarks import resolve_benchmarks
from asr.cli.compose import compose_recipe, corpus_names, recipe_names
from asr.errors import ConfigError, ManifestError


def resolve(*names):
    return resolve_benchmarks(names, recipe_names(), corpus_names(), compose_recipe)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepared(folder, path):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text("")


def test_prepared_sets_are_found_in_the_order_of_the_names(folder):
    prepared(folder, "data/digits-synthetic/test-strings.jsonl")
    prepared(folder, "data/librispeech-subset/test.jsonl")
    found = resolve("librispeech_subset/test", "digits/strings", "librispeech_subset/test")
    assert [(benchmark.name, str(benchmark.manifest)) for benchmark in found] == [
        ("librispeech_subset/test", "data/librispeech-subset/test.jsonl"),
        ("digits/strings", "data/digits-synthetic/test-strings.jsonl"),
    ]


def test_what_is_missing_is_named_all_at_once_with_the_command_that_makes_it(folder):
    prepared(folder, "data/digits-synthetic/test-strings.jsonl")
    with pytest.raises(ManifestError) as caught:
        resolve("digits/singles", "digits/strings", "commonvoice/de/test", "speechocean762_subset/test")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "digits/singles: expected data/digits-synthetic/test-singles.jsonl; `asr prepare digits`" in lines[1]
    assert "`asr prepare commonvoice data.options.language=de`" in lines[2]
    assert "`asr prepare speechocean762 data=speechocean762_subset`" in lines[3]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("switchboard/eval2000", "expected a corpus before the first /, one of .*librispeech"),
        ("digits/letters", "no such set; there are digits/strings, digits/singles"),
        ("digits", "no such set; there are digits/strings"),
        ("digits/de/strings", "expected the form digits/SET"),
        ("commonvoice/test", "expected the form commonvoice/LANGUAGE/SET"),
        ("commonvoice//test", "expected the form commonvoice/LANGUAGE/SET"),
        ("", "expected a corpus before the first /"),
    ],
)
def test_names_that_mean_nothing_are_refused(folder, name, message):
    with pytest.raises(ConfigError, match=message):
        resolve(name)
