"""What the tools answer: text about sessions, verdicts and members. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ptykill import EndReason, ExitStatus, Member, Outcome, Session, State, Verdict

__all__ = ["bounded", "ended", "member_lines", "name_of", "one_line", "run_ended", "status"]

_LONGEST_COMMAND = 200


def bounded(text: str, most: int) -> str:
    """Return a text, or its start and end with a line between them that says how much is left out.

    Both together have ``most`` characters.
    """
    if len(text) <= most:
        return text
    head = most // 2
    tail = most - head
    return f"{text[:head]}\n[... {len(text) - most} characters ...]\n{text[len(text) - tail :]}"


def name_of(session: Session) -> str:
    """Return the name by which a session is found."""
    return session.name or session.id


def one_line(command: Iterable[str]) -> str:
    """Return a command on one line, without control characters."""
    text = " ".join(command)
    text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return text if len(text) <= _LONGEST_COMMAND else f"{text[:_LONGEST_COMMAND]}…"


def status(session: Session) -> str:
    """Return the state of a session in brackets: the last line of most answers."""
    if not session.exited:
        state = "running" if session.state is State.RUNNING else "being ended"
        return f"[{name_of(session)}: {state}]"
    parts = [_exit(session.exit_status)]
    verdict = session.verdict
    if verdict is None:
        parts.append("processes that it has left behind are being ended")
    else:
        parts += _how(verdict)
    return f"[{name_of(session)}: {'; '.join(parts)}]"


def run_ended(verdict: Verdict) -> str:
    """Return how the command of `run` has ended."""
    return f"[{'; '.join([_exit(verdict.exit_status), *_how(verdict)])}]"


def ended(session: Session, verdict: Verdict, members: Iterable[Member]) -> str:
    """Return the report of an end that was asked for: who was there, and whether anybody is."""
    survivors = {each.pid for each in verdict.survivors}
    gone = [each for each in members if each.pid not in survivors and each.state != "Z"]
    lines = [f"ended: {line}" for line in member_lines(gone)]
    lines += [
        f"NOT ENDED: pid {each.pid}, state {each.state}, {one_line([each.command or each.name])}:"
        f" {each.why}"
        for each in verdict.survivors
    ]
    how = "empty: no process of it is left" if verdict.empty else "not empty"
    parts = [how, f"{verdict.outcome.value} in {verdict.took:.2f} s", _exit(verdict.exit_status)]
    parts += sorted(each.value for each in verdict.caveats)
    return "\n".join([*lines, f"[{name_of(session)}: {'; '.join(parts)}]"])


def member_lines(members: Iterable[Member]) -> list[str]:
    """Return a line for each process."""
    return [f"pid {each.pid}, {one_line([each.command or '?'])}" for each in members]


def _exit(exit_status: ExitStatus | None) -> str:
    if exit_status is None:
        return "its exit status is unknown"
    if exit_status.signal is not None:
        return f"ended by signal {exit_status.signal}"
    return f"exited with {exit_status.code}"


def _how(verdict: Verdict) -> list[str]:
    parts = []
    if verdict.reason is EndReason.LIFETIME:
        parts.append("it was ended because its time was over")
    elif verdict.reason is EndReason.IDLE:
        parts.append("it was ended because it was idle for too long")
    elif verdict.reason is EndReason.EXITED and verdict.outcome in (
        Outcome.GRACEFUL,
        Outcome.KILLED,
    ):
        parts.append("processes that it had left behind were ended")
    if not verdict.empty:
        left = ", ".join(f"pid {each.pid} ({each.why})" for each in verdict.survivors)
        parts.append(f"NOT EMPTY: {left or 'no process could be named'}")
    return parts
