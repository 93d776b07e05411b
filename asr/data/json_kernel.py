"""JSON passed over by compiled loops, outside the interpreter's lock, with what asr/data/manifest.py asks of it.

Every function takes the position where a value begins and gives the one behind it, or BAD where it is not certain that
Python's json would read the same: what is wrong, and also escaped keys, half surrogates and values that nest deeply.
Keys of an object must be unique. `text` ends with a line feed, which no string, number or space of a line reaches over.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr.kernels import kernel

MAX_DEPTH, MAX_KEYS = 16, 64  # of values inside a line; what goes beyond is left
MAX_DIGITS = 18  # of a number of seconds: fits in 63 bits
MAX_NUMBER_BYTES = 4000  # Python refuses integers of more than 4300 digits
POWERS = 10 ** np.arange(MAX_DIGITS + 1, dtype=np.int64)
MANTISSA_BITS = 53

SPACE, TAB, RETURN, NEWLINE = 32, 9, 13, 10
QUOTE, BACKSLASH, SLASH, COLON, COMMA, POINT, MINUS, PLUS = 34, 92, 47, 58, 44, 46, 45, 43
OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY = 123, 125, 91, 93
ZERO, NINE, LOWER_E, UPPER_E, LOWER_U = 48, 57, 101, 69, 117
FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
BAD = -1  # in place of a position


def letters(word: str) -> NDArray[np.uint8]:
    """ASCII, to compare with."""
    return np.frombuffer(word.encode(), np.uint8)


TRUE, FALSE, NULL = map(letters, ("true", "false", "null"))
# Bytes inside a string that stand for themselves, and are a character each.
PLAIN = np.array([0x20 <= byte < 0x80 and byte not in (QUOTE, BACKSLASH) for byte in range(256)])
ONE = np.uint64(1)


def hash_bytes(data: bytes) -> int:
    """FNV-1a of 64 bits (Fowler, Noll, Vo), as the kernels compute it."""
    return int(hash_span(np.frombuffer(data, np.uint8), 0, len(data), FNV_OFFSET))


@kernel
def hash_span(text, start, stop, code):
    """FNV-1a of text[start:stop], going on from `code`."""
    for at in range(start, stop):
        code = (code ^ np.uint64(text[at])) * FNV_PRIME
    return code


@kernel
def skip_space(text, at, end):
    """Past the space that JSON allows inside a line."""
    while at < end and (text[at] == SPACE or text[at] == TAB or text[at] == RETURN):
        at += 1
    return at


@kernel
def matches(text, start, stop, word):
    """Whether text[start:stop] is `word`."""
    if stop - start != len(word):
        return False
    for place in range(len(word)):  # noqa: SIM110 - numba knows no any()
        if text[start + place] != word[place]:
            return False
    return True


@kernel
def _skip_character(text, at, end):
    """Past one character of two to four bytes, by the table of well-formed UTF-8 (Unicode 15, table 3-7)."""
    first = text[at]
    low, high = 0x80, 0xBF  # what the second byte may be
    if 0xC2 <= first <= 0xDF:
        num_bytes = 2
    elif 0xE0 <= first <= 0xEF:
        num_bytes = 3
        if first == 0xE0:
            low = 0xA0
        elif first == 0xED:
            high = 0x9F  # no surrogates
    elif 0xF0 <= first <= 0xF4:
        num_bytes = 4
        if first == 0xF0:
            low = 0x90
        elif first == 0xF4:
            high = 0x8F
    else:
        return BAD
    if at + num_bytes > end or not low <= text[at + 1] <= high:
        return BAD
    for place in range(at + 2, at + num_bytes):
        if not 0x80 <= text[place] <= 0xBF:
            return BAD
    return at + num_bytes


@kernel
def _unicode_escape(text, at, end):
    """The number in `\\uXXXX` at `at`, or BAD."""
    if at + 6 > end or text[at] != BACKSLASH or text[at + 1] != LOWER_U:
        return BAD
    code = 0
    for place in range(at + 2, at + 6):
        digit = text[place]
        if ZERO <= digit <= NINE:
            code = 16 * code + digit - ZERO
        elif 65 <= digit <= 70 or 97 <= digit <= 102:  # A-F, a-f
            code = 16 * code + (digit & 31) + 9
        else:
            return BAD
    return code


@kernel
def _skip_escape(text, at, end):
    """Past a backslash and what it escapes, one character: a pair of surrogates is one, half of a pair is left."""
    if text[at + 1] != LOWER_U:
        return at + 2 if text[at + 1] in (QUOTE, BACKSLASH, SLASH, 98, 102, 110, 114, 116) else BAD  # b f n r t
    code = _unicode_escape(text, at, end)
    if 0xD800 <= code <= 0xDBFF and 0xDC00 <= _unicode_escape(text, at + 6, end) <= 0xDFFF:
        return at + 12
    return BAD if code == BAD or 0xD800 <= code <= 0xDFFF else at + 6


@kernel
def _skip_plain(text, at):
    """Past bytes that stand for themselves; unsigned, as numba would ask of every signed index if it is negative."""
    place = np.uint64(at)
    while PLAIN[text[place]]:
        place += ONE
    return np.int64(place)


@kernel
def skip_string(text, at, end):
    """Past a string that begins at `at`: the position behind its quote, its characters, and whether any is escaped.

    The line feed at the end of `text` stops it where no quote does.
    """
    at += 1
    num_characters, escaped = 0, False
    while True:
        stop = _skip_plain(text, at)
        num_characters += stop - at
        at = stop
        byte = text[at]
        if byte == QUOTE:
            return at + 1, num_characters, escaped
        if byte == BACKSLASH:
            escaped = True
            at = _skip_escape(text, at, end)
        elif byte < 0x20:
            at = BAD
        else:
            at = _skip_character(text, at, end)
        if at == BAD:
            return BAD, 0, False
        num_characters += 1


@kernel
def _skip_digits(text, at, end):
    while at < end and ZERO <= text[at] <= NINE:
        at += 1
    return at


@kernel
def skip_number(text, start, end):
    """Past a number in JSON's grammar: no leading zeros, digits on both sides of the point."""
    at = start + 1 if text[start] == MINUS else start
    stop = _skip_digits(text, at, end)
    if stop == at or (text[at] == ZERO and stop > at + 1):
        return BAD
    if stop < end and text[stop] == POINT:
        at = stop + 1
        stop = _skip_digits(text, at, end)
        if stop == at:
            return BAD
    if stop < end and (text[stop] == LOWER_E or text[stop] == UPPER_E):
        at = stop + 1
        if at < end and (text[at] == PLUS or text[at] == MINUS):
            at += 1
        stop = _skip_digits(text, at, end)
        if stop == at:
            return BAD
    return BAD if stop - start > MAX_NUMBER_BYTES else stop


@kernel
def _exact_quotient(numerator, denominator):
    """The float64 next to numerator / denominator, ties to even, by long division; both below 2⁶⁰, the first positive.

    The quotient is brought to two bits more than a float64 has; what remains decides a tie.
    """
    quotient, rest = numerator // denominator, numerator % denominator
    exponent = 0
    while quotient < 1 << (MANTISSA_BITS + 1):
        rest *= 2
        quotient *= 2
        if rest >= denominator:
            rest -= denominator
            quotient += 1
        exponent -= 1
    sticky = rest != 0
    while quotient >= 1 << (MANTISSA_BITS + 1):
        sticky = sticky or quotient % 2 == 1
        quotient //= 2
        exponent += 1
    mantissa = quotient // 2
    if quotient % 2 == 1 and (sticky or mantissa % 2 == 1):
        mantissa += 1
    return float(mantissa) * 2.0 ** (exponent + 1)


@kernel
def exact_seconds(text, start, stop):
    """The number text[start:stop], of JSON's grammar, as the nearest float64; NaN for what is left to Python."""
    digits, places, num_digits, fraction = np.int64(0), 0, 0, False
    for at in range(start, stop):
        byte = text[at]
        if byte == POINT:
            fraction = True
        elif ZERO <= byte <= NINE:
            digits = 10 * digits + np.int64(byte - ZERO)
            num_digits += 1 if digits != 0 else 0
            places += 1 if fraction else 0
            if num_digits > MAX_DIGITS or places > MAX_DIGITS:
                return np.nan
        else:  # a sign or an exponent
            return np.nan
    if digits == 0:
        return 0.0
    # Clinger (1990): both are exact as float64, so that one rounding is the only one.
    if digits < 1 << MANTISSA_BITS:
        return float(digits) / float(POWERS[places])
    return _exact_quotient(digits, POWERS[places])


@kernel
def skip_colon(text, at, end):
    """Past a colon and the space around."""
    at = skip_space(text, at, end)
    return skip_space(text, at + 1, end) if text[at] == COLON else BAD


@kernel
def enter_key(text, start, stop, keys, first, count):
    """Enter the hash of the key text[start:stop] at keys[count]; False when it is among keys[first:count] already."""
    if count >= MAX_KEYS:
        return False
    code = hash_span(text, start, stop, FNV_OFFSET)
    for place in range(first, count):
        if keys[place] == code:
            return False
    keys[count] = code
    return True


@kernel
def _skip_key(text, at, end, keys, first, count):
    """Past `"key" :` and the space around; enters the key. A repeated or escaped one is left."""
    if text[at] != QUOTE:
        return BAD
    stop, _, escaped = skip_string(text, at, end)
    if stop == BAD or escaped or not enter_key(text, at + 1, stop - 1, keys, first, count):
        return BAD
    return skip_colon(text, stop, end)


@kernel
def _skip_scalar(text, at, end):
    """Past a string, a number, true, false or null."""
    byte = text[at]
    if byte == QUOTE:
        return skip_string(text, at, end)[0]
    if byte == MINUS or ZERO <= byte <= NINE:
        return skip_number(text, at, end)
    if matches(text, at, min(at + 4, end), TRUE) or matches(text, at, min(at + 4, end), NULL):
        return at + 4
    return at + 5 if matches(text, at, min(at + 5, end), FALSE) else BAD


@kernel
def skip_value(text, at, end, keys, count, firsts):
    """Past any value. Keys of objects inside go to keys[count:]; firsts: (MAX_DEPTH,) where those of each level begin.

    Without recursion, which numba cannot cache: a level is an object (its `firsts` ≥ 0) or an array (-1).
    """
    depth = 0
    while at < end:
        byte = text[at]
        if byte in (OPEN_OBJECT, OPEN_ARRAY):
            if depth == MAX_DEPTH:
                return BAD
            in_object = byte == OPEN_OBJECT
            firsts[depth] = count if in_object else -1
            depth += 1
            at = skip_space(text, at + 1, end)
            if at >= end:
                return BAD
            if text[at] != (CLOSE_OBJECT if in_object else CLOSE_ARRAY):
                if in_object:
                    at = _skip_key(text, at, end, keys, count, count)
                    count += 1
                if at == BAD:
                    return BAD
                continue
        else:
            at = _skip_scalar(text, at, end)
            if at == BAD or depth == 0:
                return at
        while True:  # behind a value: close levels up to the next comma
            at = skip_space(text, at, end)
            if at >= end:
                return BAD
            first = firsts[depth - 1]
            if text[at] == COMMA:
                at = skip_space(text, at + 1, end)
                if first >= 0:
                    at = _skip_key(text, at, end, keys, first, count)
                    count += 1
                if at == BAD:
                    return BAD
                break
            if text[at] != (CLOSE_OBJECT if first >= 0 else CLOSE_ARRAY):
                return BAD
            if first >= 0:
                count = first
            depth -= 1
            at += 1
            if depth == 0:
                return at
    return BAD
