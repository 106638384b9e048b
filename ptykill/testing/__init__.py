"""For tests: of what embeds ptykill, and of whatever ends terminal sessions.

Fakes, which are sessions without processes, on any clock:

>>> import trio, trio.testing, ptykill
>>> from ptykill.testing import FakeTier, Member
>>> async def main():
...     tier = FakeTier(leader=Member(dies_of={"HUP": 0.5}), members=[Member()])
...     async with ptykill.open_supervisor(containment=tier) as supervisor:
...         session = await supervisor.spawn(["bash"])
...         return await session.terminate(grace=1.0)
>>> verdict = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
>>> verdict.empty, verdict.outcome.value, verdict.took
(True, 'killed', 1.0)


Adversaries, which are real programs that are hard to end, and a judge that says how a killer fares
with them: `ptykill.testing.adversaries`, and ``python -m ptykill.testing.judge``.
"""

from ptykill.testing.fakes import FakeContainment, FakeTerminal, FakeTier, Member

__all__ = ["FakeContainment", "FakeTerminal", "FakeTier", "Member"]
