"""Manifest lines decoded by compiled loops, outside the interpreter's lock, for asr/data/manifest_index.py.

A line is claimed only where it is certain that asr/data/manifest.py would accept it and find the same: valid UTF-8 and
JSON, keys unique and unescaped, every field of its type, numbers of seconds that convert exactly, no escape in an id or
a path. Every other line, also each that is wrong, is LEFT to that module, which decides and words the errors.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr.data.json_kernel import (
    BAD,
    CLOSE_OBJECT,
    COLON,
    COMMA,
    FNV_OFFSET,
    FNV_PRIME,
    MINUS,
    NEWLINE,
    NINE,
    NULL,
    OPEN_OBJECT,
    POINT,
    POWERS,
    QUOTE,
    RETURN,
    SLASH,
    SPACE,
    TAB,
    ZERO,
    enter_key,
    exact_seconds,
    hash_span,
    letters,
    matches,
    skip_colon,
    skip_number,
    skip_space,
    skip_string,
    skip_value,
)
from asr.kernels import kernel

# Where the id of a line comes from.
LEFT = 0  # not known yet: the line is for asr/data/manifest.py
NAMED = 1  # it stands in the line
STEM = 2  # the stem of the audio file's name
TIMED = 3  # the stem and the offset in milliseconds
LISTED = 4  # told from its like by parent folders: in a list of its own

ROW = np.dtype(
    [
        ("start", np.uint64),  # of the line in the file, bytes
        ("id_hash", np.uint64),  # of the id, or of the stem that it will be made of
        ("path_hash", np.uint64),  # of the whole path; only where there is no id
        ("duration", np.float64),  # seconds
        ("offset", np.float64),  # seconds
        ("length", np.uint32),  # of the line without its line feed, bytes
        ("text_length", np.uint32),  # characters
        ("line", np.uint32),  # the line's number in its block, from 0
        ("kind", np.uint8),  # LEFT, NAMED or STEM
    ],
    align=True,
)

MILLISECOND_DIGITS = 7  # in derived ids
MAX_OFFSET = 1e9  # seconds, in derived ids

ID, PATH, DURATION, TEXT, OFFSET, SPEAKER, LANG, EXTRA = 1, 2, 4, 8, 16, 32, 64, 0
REQUIRED = PATH | DURATION | TEXT
_ID, _PATH, _DURATION, _TEXT = map(letters, ("id", "audio_filepath", "duration", "text"))
_OFFSET, _SPEAKER, _LANG = map(letters, ("offset", "speaker", "lang"))


@kernel
def _field(text, start, stop):
    """Which field a key is."""
    length = stop - start
    if length == 2 and matches(text, start, stop, _ID):
        return ID
    if length == 4 and matches(text, start, stop, _TEXT):
        return TEXT
    if length == 8 and matches(text, start, stop, _DURATION):
        return DURATION
    if length == 14 and matches(text, start, stop, _PATH):
        return PATH
    if length == 6 and matches(text, start, stop, _OFFSET):
        return OFFSET
    if length == 7 and matches(text, start, stop, _SPEAKER):
        return SPEAKER
    return LANG if matches(text, start, stop, _LANG) else EXTRA


@kernel
def _read_path(text, start, stop, row, directory_hash):
    """Check the path text[start:stop] and enter its hash and its stem's, for an id; False when it is left.

    A path is left when pathlib would write it otherwise than it stands there (`a//b`, `./a`, drive letters), and
    when versions of Python do not agree on its stem (a leading or trailing point).
    """
    name = start
    for at in range(start, stop):
        if text[at] == COLON:
            return False
        if text[at] == SLASH:
            empty = at == name and at > start
            dot = at == name + 1 and text[name] == POINT
            if empty or dot:
                return False
            name = at + 1
    if name == stop or text[name] == POINT or text[stop - 1] == POINT:
        return False
    absolute = text[start] == SLASH
    row.path_hash = hash_span(text, start, stop, FNV_OFFSET if absolute else directory_hash)
    end = stop
    for at in range(name + 1, stop):
        if text[at] == POINT:
            end = at
    row.id_hash = hash_span(text, name, end, FNV_OFFSET)
    return True


@kernel
def _read_field(text, at, end, field, row):
    """Past the value of a field, entered into `row`."""
    byte = text[at]
    if not field & REQUIRED and byte == NULL[0]:
        return at + 4 if matches(text, at, min(at + 4, end), NULL) else BAD
    if field in (DURATION, OFFSET):
        if not ZERO <= byte <= NINE:
            return BAD
        stop = skip_number(text, at, end)
        value = exact_seconds(text, at, stop) if stop != BAD else np.nan
        if np.isnan(value) or (field == OFFSET and value > MAX_OFFSET):
            return BAD
        if field == DURATION:
            row.duration = value
        else:
            row.offset = value
        return stop
    if byte != QUOTE:
        return BAD
    stop, num_characters, escaped = skip_string(text, at, end)
    if stop == BAD or (field in (ID, PATH) and (escaped or stop == at + 2)):
        return BAD
    if field == TEXT:
        row.text_length = num_characters
    elif field == ID:
        row.kind = NAMED
        row.id_hash = hash_span(text, at + 1, stop - 1, FNV_OFFSET)
    return stop


@kernel
def _parse_line(text, at, row, directory_hash, keys, firsts):
    """Enter what the line that begins at `at` says into `row`; the position of its line feed, BAD when it is left.

    The line's end need not be known: no string, number or space of JSON's reaches over a line feed.
    """
    end = len(text)
    row.kind, row.offset = LEFT, 0.0
    seen, count = 0, 0
    path_start, path_stop = 0, 0
    at = skip_space(text, at, end)
    if text[at] != OPEN_OBJECT:
        return BAD
    while True:
        at = skip_space(text, at + 1, end)
        if text[at] != QUOTE:
            return BAD
        stop, _, escaped = skip_string(text, at, end)
        if stop == BAD or escaped:
            return BAD
        field = _field(text, at + 1, stop - 1)
        value = skip_colon(text, stop, end)
        if value == BAD or seen & field:
            return BAD
        seen |= field
        if field != EXTRA:
            at = _read_field(text, value, end, field, row)
        elif enter_key(text, at + 1, stop - 1, keys, 0, count):
            count += 1
            at = skip_value(text, value, end, keys, count, firsts)
        else:
            at = BAD
        if at == BAD:
            return BAD
        if field == PATH:
            path_start, path_stop = value + 1, at - 1
        at = skip_space(text, at, end)
        if text[at] == CLOSE_OBJECT:
            break
        if text[at] != COMMA:
            return BAD
    at = skip_space(text, at + 1, end)
    if text[at] != NEWLINE or seen & REQUIRED != REQUIRED:
        return BAD
    if row.kind == NAMED:  # the path is only looked at: its name may not be empty
        return BAD if text[path_stop - 1] == SLASH or text[path_stop - 1] == POINT else at
    if not _read_path(text, path_start, path_stop, row, directory_hash):
        return BAD
    row.kind = STEM
    return at


@kernel
def _is_blank(text, start, stop):
    for at in range(start, stop):  # noqa: SIM110 - numba knows no all()
        if text[at] != SPACE and not TAB <= text[at] <= RETURN:
            return False
    return True


@kernel
def parse_block(text, start, stop, base, directory_hash, rows, keys, firsts):
    """Parse the lines that begin in text[start:stop]; the last may end behind it, but in `text`.

    Args:
        text: (bytes,) uint8; ends with a line feed.
        base: where text[0] stands in the file.
        directory_hash: of the manifest's folder and a slash, which relative paths go on from.
        rows: (lines,) of ROW, set; blank lines get none. Of LEFT ones only the place.
        keys, firsts: (MAX_KEYS,) uint64 and (MAX_DEPTH,) int64, to work with.

    Returns:
        The number of rows, and of lines.
    """
    num_rows, num_lines = 0, 0
    while start < stop:
        row = rows[num_rows]
        end = _parse_line(text, start, row, directory_hash, keys, firsts)
        if end == BAD:
            row.kind, end = LEFT, start
            while text[end] != NEWLINE:
                end += 1
        if row.kind != LEFT or not _is_blank(text, start, end):
            row.start, row.length, row.line = base + start, end - start, num_lines
            num_rows += 1
        num_lines += 1
        start = end + 1
    return num_rows, num_lines


@kernel
def _timed_hash(code, offset):
    """The hash of `-` and the milliseconds in at least seven digits, going on from `code`."""
    milliseconds = np.int64(np.rint(offset * 1000))
    code = (code ^ np.uint64(MINUS)) * FNV_PRIME
    num_digits = MILLISECOND_DIGITS
    while milliseconds >= POWERS[num_digits]:
        num_digits += 1
    for place in range(num_digits - 1, -1, -1):
        digit = milliseconds // POWERS[place] % 10
        code = (code ^ np.uint64(ZERO + digit)) * FNV_PRIME
    return code


@kernel
def derive_ids(order, kinds, id_hashes, path_hashes, offsets):
    """Give lines of kind STEM their ids' hashes: as they are, TIMED where several share one file, or LISTED.

    LISTED are those whose stem other files have as well, or whose offset is beyond MAX_OFFSET.

    Args:
        order: (N,) the lines, sorted by `id_hashes`.
        kinds, id_hashes: (N,) changed.
        path_hashes, offsets: (N,).

    Returns:
        The number of LISTED lines.
    """
    num_listed = 0
    start = 0
    while start < len(order):
        code = id_hashes[order[start]]
        stop, count, first, same = start, 0, 0, True
        while stop < len(order) and id_hashes[order[stop]] == code:
            line = order[stop]
            if kinds[line] == STEM:
                first = line if count == 0 else first
                same = same and path_hashes[line] == path_hashes[first] and offsets[line] <= MAX_OFFSET
                count += 1
            stop += 1
        if count > 1:
            for place in range(start, stop):
                line = order[place]
                if kinds[line] == STEM:
                    kinds[line] = TIMED if same else LISTED
                    num_listed += 0 if same else 1
                    if same:
                        id_hashes[line] = _timed_hash(code, offsets[line])
        start = stop
    return num_listed


def find_repeats(sorted_hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where hashes equal a neighbour: (M,) places."""
    places = np.empty(_find_repeats(sorted_hashes, np.empty(0, np.int64)), np.int64)
    _find_repeats(sorted_hashes, places)
    return places


@kernel
def _find_repeats(hashes, places):
    """Count them; as many as fit go into `places`."""
    count = 0
    for place in range(len(hashes)):
        before = place > 0 and hashes[place - 1] == hashes[place]
        after = place + 1 < len(hashes) and hashes[place + 1] == hashes[place]
        if before or after:
            if count < len(places):
                places[count] = place
            count += 1
    return count
