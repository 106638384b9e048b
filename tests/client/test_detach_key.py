"""The key that detaches, however a terminal sends it."""

from __future__ import annotations

import pytest

from ptykill.cli.client import detach_key

CTRL_BRACKET = b"\x1d"


@pytest.mark.parametrize(
    ("text", "byte"),
    [
        ("ctrl-]", b"\x1d"),
        ("Ctrl-A", b"\x01"),
        ("^\\", b"\x1c"),
        ("ctrl-@", b"\x00"),
        ("c-_", b"\x1f"),
        ("none", None),
    ],
)
def test_keys_have_names(text: str, byte: bytes | None) -> None:
    """Keys have the usual names, such as ``ctrl-]``."""
    assert detach_key.parse(text) == byte


@pytest.mark.parametrize("text", ["", "a", "ctrl-", "ctrl-1", "f1", "^^^"])
def test_what_is_no_key_is_refused(text: str) -> None:
    """A key that no terminal sends as one byte is refused."""
    with pytest.raises(ValueError, match="detach key"):
        detach_key.parse(text)


def typed(*chunks: bytes, key: bytes | None = CTRL_BRACKET) -> tuple[bytes, bool]:
    """Return the input for the program, and whether the detach key was pressed."""
    watch, sent = detach_key.DetachKeyFilter(key), b""
    for chunk in chunks:
        before, pressed = watch.before_key(chunk)
        sent += before
        if pressed:
            return sent, True
    return sent, False


def test_what_is_typed_before_the_key_is_typed() -> None:
    """Input before the key goes to the program; input after it does not."""
    assert typed(b"ab\x1dcd") == (b"ab", True)
    assert typed(b"abcd") == (b"abcd", False)
    assert typed(b"ab\x1dcd", key=None) == (b"ab\x1dcd", False)


@pytest.mark.parametrize(
    "sequence",
    [
        b"\x1b[93;5u",  # kitty's keyboard protocol
        b"\x1b[93;5:1u",  # with the event
        b"\x1b[93;5:2u",  # a repeat
        b"\x1b[93;69u",  # with caps lock
        b"\x1b[93;197u",  # and num lock
        b"\x1b[93:125;5u",  # with the shifted code
        b"\x1b[93::93;5;29u",  # with the code of the standard layout, and text
        b"\x1b[27;5;93~",  # modifyOtherKeys
    ],
)
def test_the_key_in_other_encodings(sequence: bytes) -> None:
    """The key is found in each encoding that a program may request, wherever reads are cut."""
    assert typed(b"ab" + sequence + b"cd") == (b"ab", True)
    for cut in range(3, len(sequence)):
        assert typed(b"ab" + sequence[:cut], sequence[cut:]) == (b"ab", True), cut
    for cut in (1, 2):  # So much may be a key by itself, and goes at once.
        assert typed(b"ab" + sequence[:cut], sequence[cut:]) == (b"ab" + sequence[:cut], True)


@pytest.mark.parametrize(
    "sequence",
    [
        b"\x1b[93u",  # no Ctrl
        b"\x1b[93;1u",
        b"\x1b[93;3u",  # Alt
        b"\x1b[93;7u",  # Ctrl and Alt
        b"\x1b[93;5:3u",  # released
        b"\x1b[92;5u",  # another key
        b"\x1b[27;3;93~",
        b"\x1b[93;5R",  # where the cursor is
        b"\x1b[24~",
        b"\x1b[193;5u",
    ],
)
def test_other_keys_are_the_programs(sequence: bytes) -> None:
    """All bytes of other keys go to the program, in whatever pieces they come."""
    assert typed(sequence) == (sequence, False)
    assert typed(*(bytes([each]) for each in sequence)) == (sequence, False)


def test_an_escape_is_not_held_back() -> None:
    """The key Escape, and Alt with a bracket, arrive at once."""
    for key in (b"\x1b", b"\x1b[", b"x\x1b"):
        assert detach_key.DetachKeyFilter(CTRL_BRACKET).before_key(key) == (key, False)


def test_letters_and_keys_with_shift() -> None:
    """A letter is without Shift; some other keys can be typed only with it."""
    assert typed(b"\x1b[97;5u", key=b"\x01") == (b"", True)
    assert typed(b"\x1b[97;6u", key=b"\x01")[1] is False
    assert typed(b"\x1b[45:95;6u", key=b"\x1f") == (b"", True)
    assert typed(b"\x1b[27;6;64~", key=b"\x00") == (b"", True)
