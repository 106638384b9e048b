"""The responses to kills: of one session, and of all that match."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ptykill.http.ends_schema import End
from ptykill.http.messages import Headers, Response, error_response, json_response
from ptykill.rules.verdict import Caveat, Outcome, Survivor, Verdict

__all__ = ["answer_kill", "answer_kills", "failure_of"]

_CODES = (
    ("not permitted", "KILL_NOT_PERMITTED"),
    ("uninterruptible", "KILL_UNINTERRUPTIBLE"),
    ("traces it", "LEADER_TRACED"),
)
"""Words in `Survivor.why`, and their error code; the first that fits any survivor is taken."""


def answer_kill(verdict: Verdict) -> Response:
    """Answer 204 if, and only if, no process of the session is left."""
    caveats = _caveats(verdict)
    if verdict.empty:
        parts = (("hup", verdict.grace), ("kill", verdict.kill), ("total", verdict.took))
        timing = ", ".join(f"{name};dur={1000 * seconds:.3f}" for name, seconds in parts)
        return Response(204, ((b"server-timing", timing.encode("ascii")), *caveats))
    code, sentence = failure_of(verdict)
    return error_response(500, code, sentence, *caveats)


def answer_kills(verdicts: Sequence[Verdict]) -> Response:
    """Answer 200 if, and only if, no process of any of the sessions is left; list all of them."""
    sessions = msgspec.to_builtins([_ended(verdict) for verdict in verdicts])
    left = sum(not verdict.empty for verdict in verdicts)
    if not left:
        return json_response(200, {"sessions": sessions})
    sentence = f"{left} of {len(verdicts)} sessions are not over"
    body = {"error": sentence, "code": "SESSIONS_NOT_EMPTY", "sessions": sessions}
    return json_response(500, body)


def _ended(verdict: Verdict) -> End:
    took_ms = round(1000 * verdict.took, 3)
    if verdict.empty:
        return End(verdict.session_id, ended=True, took_ms=took_ms)
    code, sentence = failure_of(verdict)
    return End(verdict.session_id, ended=False, took_ms=took_ms, code=code, error=sentence)


def failure_of(verdict: Verdict) -> tuple[str, str]:
    """Return the code and the sentence for a session that is not over."""
    survivors = verdict.survivors
    whys = [survivor.why for survivor in survivors]
    codes = (code for words, code in _CODES if any(words in why for why in whys))
    left = "; ".join(map(_description, survivors)) or "its processes could not be listed"
    unproven = Caveat.UNPROVEN in verdict.caveats and not survivors
    if unproven:
        left = "its keeper was killed; no process of it is found, but its end can't be proved"
    code = next(codes, "SESSION_UNPROVEN" if unproven else "SESSION_NOT_EMPTY")
    spared = verdict.outcome is Outcome.SPARED
    return code, f"the session {'has spared processes' if spared else 'is not over'}: {left}"


def _caveats(verdict: Verdict) -> Headers:
    """Return the header that lists the verdict's caveats, if it has any."""
    caveats = ", ".join(sorted(verdict.caveats))
    return ((b"ptykill-caveats", caveats.encode("ascii")),) if caveats else ()


def _description(survivor: Survivor) -> str:
    return f"pid {survivor.pid} ({survivor.name}, state {survivor.state}): {survivor.why}"
