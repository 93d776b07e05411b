"""The pages of an Ogg file (RFC 3533): recordings that follow one another, and what is cut or broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from asr.audio.layout import Layout
from asr.audio.views import Piece, Stretch

HEADER_BYTES = 27
BEGINS, ENDS = 0x02, 0x04  # bits of a page: the first and the last of a stream
OGG_FLAC = b"\x7fFLAC"  # how its first packet begins
OGG_FLAC_HEADER_BYTES = 9  # of the mapping, in front of the native stream
WINDOW_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Page:
    """One page."""

    start: int
    data: int  # byte position of its contents
    stop: int
    flags: int
    serial: int  # of the stream that it belongs to


@dataclass(frozen=True, slots=True)
class Walk:
    """The pages of a file, and what lies between them."""

    pages: tuple[Page, ...]
    lost_bytes: int  # that belong to no page
    last_cut: bool  # the file ends inside a page


def ogg_layout(file: BinaryIO, start: int, stop: int) -> Layout:
    """How an Ogg file is to be read: each recording of a chain by itself, without a page that is cut."""
    walk = _walk(file, start, stop)
    links = list(_links(walk.pages))
    damage = _damage(walk, links)
    if links and _is_flac(file, links[0][0]):
        return Layout(tuple(_native_flac(link) for link in links), damage)
    if start == 0 and len(links) == 1 and not walk.last_cut:
        return Layout(damage=damage)
    streams: list[tuple[Piece, ...]] = [(Stretch(link[0].start, link[-1].stop),) for link in links]
    return Layout(tuple(streams) or ((Stretch(start, stop),),), damage)


def _walk(file: BinaryIO, position: int, stop: int) -> Walk:
    pages: list[Page] = []
    lost = 0
    while position < stop:
        file.seek(position)
        header = file.read(HEADER_BYTES)
        if header[:4] != b"OggS":
            following = _find_page(file, position + 1, stop)
            lost += following - position if following < stop else 0
            position = following
            continue
        sizes = file.read(header[26]) if len(header) == HEADER_BYTES else b""
        data = position + HEADER_BYTES + len(sizes)
        end = data + sum(sizes)
        if len(header) < HEADER_BYTES or len(sizes) < header[26] or end > stop:
            return Walk(tuple(pages), lost, last_cut=True)
        pages.append(Page(position, data, end, header[5], int.from_bytes(header[14:18], "little")))
        position = end
    return Walk(tuple(pages), lost, last_cut=False)


def _find_page(file: BinaryIO, position: int, stop: int) -> int:
    """Where the next page begins; else the end."""
    while position < stop:
        file.seek(position)
        window = file.read(WINDOW_BYTES)
        if (found := window.find(b"OggS")) >= 0:
            return position + found
        if len(window) < 4:
            break
        position += len(window) - 3
    return stop


def _links(pages: tuple[Page, ...]) -> Iterator[list[Page]]:
    """The pages of each recording: a new one begins where a stream does, unless others are beginning right before."""
    link: list[Page] = []
    for page in pages:
        if page.flags & BEGINS and link and not link[-1].flags & BEGINS:
            yield link
            link = []
        link.append(page)
    if link:
        yield link


def _damage(walk: Walk, links: list[list[Page]]) -> str | None:
    if walk.last_cut:
        return "the file is cut short: it ends inside an Ogg page"
    if walk.lost_bytes:
        return f"the file is broken: {walk.lost_bytes} bytes between its Ogg pages belong to none"
    if any(not _ends(link) for link in links):
        return "the file is cut short: its last Ogg page is not marked as the end"
    return None


def _ends(link: list[Page]) -> bool:
    """Whether some stream of a recording has its end marked; of several beside one another, one is enough."""
    return any(page.flags & ENDS for page in link)


def _is_flac(file: BinaryIO, page: Page) -> bool:
    file.seek(page.data)
    return file.read(len(OGG_FLAC)) == OGG_FLAC


def _native_flac(link: list[Page]) -> tuple[Piece, ...]:
    """FLAC as if it were in no Ogg: the contents of its pages, of which libsndfile reads no others."""
    serial = link[0].serial
    first, *others = [Stretch(page.data, page.stop) for page in link if page.serial == serial]
    return (Stretch(first.start + OGG_FLAC_HEADER_BYTES, first.stop), *others)
