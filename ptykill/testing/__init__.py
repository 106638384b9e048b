"""Help for tests: fake sessions, programs that are hard to end, and a judge of killers.

Fakes are sessions without processes, on any clock:

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

`ptykill.testing.adversaries` are real programs that are hard to end, and ``python -m
ptykill.testing.judge`` runs a killer against them. `ptykill.testing.processes` finds processes by a
mark in their environment, and `ptykill.testing.observer` records when processes die.
"""

from ptykill.testing.fakes import FakeContainment, FakeTerminal, FakeTier, Member

__all__ = ["FakeContainment", "FakeTerminal", "FakeTier", "Member"]
