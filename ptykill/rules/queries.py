r"""Finds the queries in a terminal's output, which a terminal answers by typing. Pure.

In a replay they were answered long ago, and another answer would be typed into the program that
runs now. `without_queries` puts something in their place that does nothing: ``ESC \`` (ST), which
ends an unfinished sequence as the query's own ESC does, and NULs. A query that begins with a C1
control in UTF-8 becomes CAN and NULs: such a control cancels an unfinished string, and ST would
complete it, which may be a query. Lengths stay the same, and so do offsets in the output. The names
are those of xterm's ctlseqs.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LONGEST", "without_queries"]

LONGEST: Final = 1280
"""Bytes of the longest query that is found."""
_NUMBERS: Final = rb"[0-9;:\x00-\x17\x19\x1c-\x1f\x7f]{0,200}+"
_TEXT: Final = rb"[^\x18\x1a\x1b\xc2]{0,1000}+(?=\x1b|\xc2\x9c)"
_COMMAND: Final = rb"[^\x07\x18\x1a\x1b\xc2]{0,1000}+(?:\x07|(?=\x1b|\xc2\x9c))"
_QUERY: Final = (
    rb"%(csi)s(?:[=>]?[0\x00-\x17\x19\x1c-\x1f\x7f]{0,200}+c"  # DA1, DA2, DA3
    rb"|\??%(numbers)s(?:n|\$p)"  # DSR and CPR; DECRQM
    rb"|%(numbers)s(?:x|\$[uw]|\*y|\x22v|&u|'\||\#[R|])"  # DECREQTPARM, DECRQTSR, DECRQCRA, …
    rb"|>%(numbers)sq|\?%(numbers)s[uSm]"  # XTVERSION; kitty's keyboard, XTSMGRAPHICS, XTQMODKEYS
    rb"|(?:1[1345689]|2[01])(?:;%(numbers)s)?t)"  # reports of XTWINOPS
    rb"|%(decid)s"
    rb"|%(dcs)s[0-9;]{0,20}+(?:\$q|\+[qQ])%(text)s"  # DECRQSS, XTGETTCAP, XTGETXRES
    rb"|%(apc)sG(?=[^;\x18\x1a\x1b]{0,200}?a=q)%(text)s"  # kitty's graphics
    rb"|%(osc)s(?:(?:[45]|1[0-9]|21|50|52)"  # colours, font, clipboard
    rb"(?=;(?:[^\x07\x18\x1a\x1b\xc2]{0,900}?[;=])?\?[;\x07\x1b\xc2])"
    rb"|1337;Re(?:port|quest))%(command)s"  # iTerm2's
)
_PARTS: Final = {b"numbers": _NUMBERS, b"text": _TEXT, b"command": _COMMAND}
_AFTER_ESC: Final = {b"csi": rb"\[", b"decid": b"Z", b"dcs": b"P", b"apc": b"_", b"osc": rb"\]"}
_AFTER_C2: Final = {
    b"csi": rb"\x9b",
    b"decid": rb"\x9a",
    b"dcs": rb"\x90",
    b"apc": rb"\x9f",
    b"osc": rb"\x9d",
}
"""The second byte of a C1 control in UTF-8."""
_WITH_ESC = re.compile(
    rb"\x1b(?!\[[0-9;]*+[@-bd-mo-su-wy-~]|\[\?[0-9;]*+[hl])"  # The most frequent ones are none.
    rb"(?:%s)" % (_QUERY % (_PARTS | _AFTER_ESC))
)
_WITH_C1 = re.compile(rb"\xc2(?:%s)" % (_QUERY % (_PARTS | _AFTER_C2)))
_C1 = re.compile(rb"\xc2[\x90\x9a\x9b\x9d\x9f]")
_ENQ: Final = b"\x05"
_NOTHING: Final = b"\x1b\\"
_CANCEL: Final = b"\x18"


def without_queries(data: bytes) -> bytes:
    """Return output in which each query is replaced by as many bytes that do nothing."""
    if b"\x1b" in data:
        data = _WITH_ESC.sub(_nothing, data)
    if b"\xc2" in data and _C1.search(data):
        data = _WITH_C1.sub(_cancel, data)
    return data.replace(_ENQ, b"\x00")


def _nothing(found: re.Match[bytes]) -> bytes:
    return _NOTHING + bytes(found.end() - found.start() - len(_NOTHING))


def _cancel(found: re.Match[bytes]) -> bytes:
    return _CANCEL + bytes(found.end() - found.start() - len(_CANCEL))
