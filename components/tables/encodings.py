"""Which encoding the bytes of a text file are in, proved over all of them before anything is read."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from components.errors import InputError

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BLOCK_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 16
"""Lines with other than ASCII bytes that a detector is shown."""
WESTERN = "cp1252"
_CANDIDATES = (
    *("cp1251", "koi8_r", "cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1253", "cp1255", "cp1256", "cp874"),
    *("cp1250", "iso8859_2", "cp1254", "cp1252"),
)
"""What a table is likely to be in; without a list, short samples are taken for code pages of old Macintoshes."""
FEWEST_WORDS, FEWEST_LETTERS = 3, 8
"""Different ones beyond ASCII, below which nothing can be told: a person has to."""
_HIGH = re.compile(rb"[\x80-\xff]+")
_VALID = re.compile(rb"[\xc3-\xf4][\x80-\xbf]{1,3}")
CHOICES = "utf-8, cp1252 (Western Windows), latin-1, cp1250, cp1251, shift_jis, gb18030, big5, euc-kr, utf-16"


def find(path: Path, wanted: str = "") -> tuple[str, tuple[str, ...]]:
    """Return the encoding of a text file, and notes on how it was found.

    Args:
        wanted: What a person says; it is only checked.

    Raises:
        InputError: Bytes are no text in the encoding, or no encoding fits; with the byte, its line and the choices.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
    marked = next((name for mark, name in MARKS if start.startswith(mark)), "")
    if wanted or marked:
        bad = first_bad(path, wanted or marked)
        if bad:
            raise _told(path, wanted or marked, bad, "correct it, or override another encoding")
        return wanted or marked, ()
    bad = first_bad(path, "utf-8")
    if bad is None:
        return "utf-8", ()
    sample = _sample(path)
    if len(_VALID.findall(sample)) > 3 * sum(1 for _ in _HIGH.finditer(_VALID.sub(b"", sample))):
        raise _told(path, "utf-8", bad, "the rest is UTF-8: correct that byte")
    name = _detected(sample)
    if name is None or first_bad(path, name):
        raise _told(path, "utf-8", bad, "and no other encoding fits all of the file")
    return name, (f"the file is not UTF-8; it was read as {name}, by its bytes; override encoding if names look wrong",)


def first_bad(path: Path, encoding: str) -> tuple[int, int] | None:
    """Return (byte, line) of the first byte that is no text in an encoding, None when all of them are."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done = line = 0
    with path.open("rb") as stream:
        while True:
            block = stream.read(BLOCK_BYTES)
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                place = done - held + error.start
                return place, line + block[: max(0, error.start - held)].count(b"\n") + 1
            if not block:
                return None
            done += len(block)
            line += block.count(b"\n")


def _sample(path: Path) -> bytes:
    """Return lines that hold other than ASCII bytes."""
    found: list[bytes] = []
    size = 0
    with path.open("rb") as stream:
        for line in stream:
            if not line.isascii():
                found.append(line)
                size += len(line)
                if size > SAMPLE_BYTES:
                    break
    return b"".join(found)


def _detected(sample: bytes) -> str | None:
    """Return the encoding of text that is not UTF-8.

    Letters beyond ASCII stand alone among others in Western languages and side by side in those with another script;
    so the code page of Western Windows, where nearly every byte is some letter, is only believed where they stand alone
    and are letters there.
    """
    runs = _HIGH.findall(sample)
    letters = sum(byte >= 0xC0 for run in runs for byte in run)
    total = sum(map(len, runs))
    if total <= 2 * len(runs) and letters >= 0.5 * total and _decodes(sample, WESTERN):
        return WESTERN
    from charset_normalizer import from_bytes

    # Words, each once: delimiters, digits and repeats are no language. No second byte of a letter is below 0x40.
    words = [word for word in dict.fromkeys(re.split(rb"[\x00-\x3f]+", sample)) if not word.isascii()]
    if len(words) < FEWEST_WORDS or len(set(b"".join(runs))) < FEWEST_LETTERS:
        return None
    looks = (from_bytes(part, cp_isolation=list(_CANDIDATES)).best() for part in (sample, b" ".join(words)))
    best = next((found for found in looks if found is not None), None)
    if best is None or not _decodes(sample, best.encoding) or _has_controls(sample.decode(best.encoding)):
        return None
    return codecs.lookup(best.encoding).name


def _decodes(sample: bytes, encoding: str) -> bool:
    try:
        sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _has_controls(text: str) -> bool:
    """Return whether a text holds the control characters of ISO 8859, which nobody writes."""
    return any("\x80" <= character <= "\x9f" for character in text)


def _told(path: Path, encoding: str, bad: tuple[int, int], what: str) -> InputError:
    byte, line = bad
    with path.open("rb") as stream:
        stream.seek(byte)
        value = stream.read(1)
    shown = f"0x{value[0]:02x}" if value else "the end of the file"
    return InputError(
        f"{path.name}: byte {byte:,} ({shown}, line {line:,}) is no text in {encoding}; {what}, or name the encoding: "
        f'override {{"encoding": "cp1252"}}, one of {CHOICES} and all others that Python knows'
    )
