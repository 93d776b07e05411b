"""Compiled loops over the bytes of ARPA files: n-gram lines into numbers and words, and words into their ids."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from asr.kernels import array_kernel

NEWLINE, TAB, RETURN, SPACE = 10, 9, 13, 32
BACKSLASH, PLUS, MINUS, POINT, ZERO, NINE, LOWER_E, UPPER_E = 92, 43, 45, 46, 48, 57, 101, 69
TO_LOWER = 32  # added to the bit pattern of an upper-case letter
INFINITY = np.frombuffer(b"infinity", np.uint8)
SHORT_INFINITY = 3  # letters of it that do
LOG10_ZERO = np.float32(-99.0)  # how SRILM writes the logarithm of 0, and what -inf is read as
MAX_DIGITS = 18  # significant ones that int64 holds, more than float32 can tell apart
MAX_EXPONENT = 400  # beyond it every number is zero or infinity

FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
EMPTY = -1


class Flaw(IntEnum):
    """What can be wrong with an n-gram line, NONE besides."""

    NONE = 0
    BLANK = 1  # which is skipped, as KenLM does
    END_OF_SECTION = 2  # a line that begins with a backslash
    FIELDS = 3
    PROBABILITY = 4  # no number, or above zero
    BACKOFF = 5  # no number or infinite


NONE, BLANK, END_OF_SECTION, FIELDS, PROBABILITY, BACKOFF = (int(flaw) for flaw in Flaw)


@array_kernel
def _is_space(byte: int) -> bool:
    return byte in (SPACE, TAB, RETURN)


@array_kernel
def _skip_digits(text: NDArray[np.uint8], start: int, end: int) -> int:
    while start < end and ZERO <= text[start] <= NINE:
        start += 1
    return start


@array_kernel
def _parse_exponent(text: NDArray[np.uint8], start: int, end: int) -> int:
    """The integer in text[start:end], kept within ±MAX_EXPONENT, or 2 * MAX_EXPONENT if it is none."""
    negative = start < end and text[start] == MINUS
    if start < end and (text[start] == MINUS or text[start] == PLUS):
        start += 1
    if start == end or _skip_digits(text, start, end) != end:
        return 2 * MAX_EXPONENT
    value = 0
    for position in range(start, end):
        value = min(10 * value + text[position] - ZERO, MAX_EXPONENT)
    return -value if negative else value


@array_kernel
def _is_infinity(text: NDArray[np.uint8], start: int, end: int) -> bool:
    """Whether text[start:end] is "inf" or "infinity", in any case."""
    if end - start != SHORT_INFINITY and end - start != len(INFINITY):
        return False
    position = start
    while position < end and (text[position] | TO_LOWER) == INFINITY[position - start]:
        position += 1
    return position == end


@array_kernel
def parse_number(text: NDArray[np.uint8], start: int, end: int) -> float:
    """The decimal number in text[start:end] to within float32, -inf too, or NaN if it is none."""
    negative = start < end and text[start] == MINUS
    if start < end and (text[start] == MINUS or text[start] == PLUS):
        start += 1
    if negative and _is_infinity(text, start, end):
        return -np.inf
    whole_end = _skip_digits(text, start, end)
    digits_end = whole_end
    if whole_end < end and text[whole_end] == POINT:
        digits_end = _skip_digits(text, whole_end + 1, end)
    num_digits = digits_end - start - (1 if digits_end > whole_end else 0)
    exponent = 0
    if digits_end < end:
        if text[digits_end] != LOWER_E and text[digits_end] != UPPER_E:
            return np.nan
        exponent = _parse_exponent(text, digits_end + 1, end)
    if num_digits == 0 or exponent > MAX_EXPONENT:
        return np.nan
    mantissa, used = np.int64(0), 0
    for position in range(start, digits_end):
        if text[position] == POINT:
            continue
        if used < MAX_DIGITS:
            mantissa = 10 * mantissa + (text[position] - ZERO)
            used += 1 if mantissa > 0 else 0  # leading zeros are no digits
            exponent -= 1 if position > whole_end else 0
        else:
            exponent += 1 if position < whole_end else 0
    value = float(mantissa) * 10.0 ** float(exponent) if mantissa > 0 else 0.0
    return -value if negative else value


@array_kernel
def _parse_line(
    text: NDArray[np.uint8], start: int, end: int, numbers: NDArray[np.float32], spans: NDArray[np.int32]
) -> int:
    """Parse one line: its probability and back-off (NaN without one) into `numbers`, its words' places into `spans`."""
    num_words = len(spans)
    numbers[1] = np.nan
    num_fields = 0
    position = start
    while True:
        while position < end and _is_space(text[position]):
            position += 1
        if position == end:
            break
        field = position
        while position < end and not _is_space(text[position]):
            position += 1
        if num_fields == 0:
            if text[field] == BACKSLASH:
                return END_OF_SECTION
            numbers[0] = parse_number(text, field, position)
        elif num_fields <= num_words:
            spans[num_fields - 1, 0] = field
            spans[num_fields - 1, 1] = position
        elif num_fields == num_words + 1:
            numbers[1] = parse_number(text, field, position)
        num_fields += 1
    if num_fields == 0:
        return BLANK
    if num_fields < num_words + 1 or num_fields > num_words + 2:
        return FIELDS
    if not numbers[0] <= 0.0:
        return PROBABILITY
    if numbers[0] == -np.inf:
        numbers[0] = LOG10_ZERO
    return BACKOFF if num_fields == num_words + 2 and not np.isfinite(numbers[1]) else NONE


@array_kernel
def parse_lines(
    text: NDArray[np.uint8], numbers: NDArray[np.float32], spans: NDArray[np.int32], lines: NDArray[np.int64]
) -> tuple[int, int, int]:
    """Parse n-gram lines until `numbers` is full, `text` ends or a line is not as it should be; skip blank ones.

    Args:
        text: (bytes,) whole lines.
        numbers: (M, 2) set to log10 probability and log10 back-off, NaN where there is none.
        spans: (M, n, 2) set to where in `text` each word begins and ends.
        lines: (M + 1,) set to the line of each n-gram, and after the last to the number of lines read; from 0.

    Returns:
        What is wrong with the next line (a `Flaw`), the number of n-grams parsed, and the bytes read.
    """
    start, row = 0, 0
    lines[0] = 0
    while row < len(numbers) and start < len(text):
        end = start
        while text[end] != NEWLINE:
            end += 1
        flaw = _parse_line(text, start, end, numbers[row], spans[row])
        if flaw == BLANK:
            lines[row] += 1
        elif flaw != NONE:
            return flaw, row, start
        else:
            row += 1
            lines[row] = lines[row - 1] + 1
        start = end + 1
    return NONE, row, start


@array_kernel
def _slot_of(text: NDArray[np.uint8], start: int, end: int, mask: int) -> int:
    """FNV-1a (Fowler, Noll, Vo) of text[start:end], folded to a slot."""
    code = FNV_OFFSET
    for position in range(start, end):
        code = (code ^ np.uint64(text[position])) * FNV_PRIME
    slot: int = np.int64((code ^ (code >> np.uint64(32))) & np.uint64(mask))
    return slot


@array_kernel
def _equal(one: NDArray[np.uint8], start: int, end: int, other: NDArray[np.uint8], at: int, until: int) -> bool:
    if end - start != until - at:
        return False
    offset = 0
    while offset < end - start and one[start + offset] == other[at + offset]:
        offset += 1
    return offset == end - start


@array_kernel
def fill_slots(blob: NDArray[np.uint8], offsets: NDArray[np.int64], slots: NDArray[np.int32]) -> None:
    """Enter each word, blob[offsets[i]:offsets[i + 1]], into a hash table with linear probing; EMPTY slots are free."""
    mask = len(slots) - 1
    for word in range(len(offsets) - 1):
        slot = _slot_of(blob, offsets[word], offsets[word + 1], mask)
        while slots[slot] != EMPTY:
            slot = (slot + 1) & mask
        slots[slot] = word


@array_kernel
def find_words(
    text: NDArray[np.uint8],
    spans: NDArray[np.int32],
    blob: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    slots: NDArray[np.int32],
) -> NDArray[np.int32]:
    """The number of each word of `text` in the hash table, EMPTY where it is not there: (lines, n) int32."""
    mask = len(slots) - 1
    numbers = np.empty(spans.shape[:2], dtype=np.int32)
    for row in range(spans.shape[0]):
        for column in range(spans.shape[1]):
            start, end = spans[row, column, 0], spans[row, column, 1]
            slot = _slot_of(text, start, end, mask)
            while slots[slot] != EMPTY:
                word = slots[slot]
                if _equal(text, start, end, blob, offsets[word], offsets[word + 1]):
                    break
                slot = (slot + 1) & mask
            numbers[row, column] = slots[slot]
    return numbers
