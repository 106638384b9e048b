"""The metrics, read by the client library's own parser."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import ptykill
from ptykill.integrations import prometheus
from ptykill.integrations.prometheus import page, watch
from ptykill.testing import FakeTier, Member

Values = Callable[..., float]


def values_of(registry: CollectorRegistry) -> Values:
    """Return a function that returns the value of a sample, by its name and labels."""
    kind, content = page(registry)
    assert kind.startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return found[f"ptykill_{name}", *sorted(labels.items())]

    return value


async def test_what_is_counted(tier: str) -> None:
    """Spawns, refusals, ends by their cause, times, bytes and attachments."""
    registry = CollectorRegistry()
    async with ptykill.open_supervisor(containment=tier, max_sessions=2) as supervisor:
        watch(supervisor, registry)
        value = values_of(registry)
        assert value("sessions", state="running") == 0
        assert value("sessions_spawned_total") == 0
        assert value("info", containment=tier, version=ptykill.__version__) == 1
        one = await supervisor.spawn(["sh", "-c", "stty -echo; read x; echo 12345; sleep 60"])
        two = await supervisor.spawn(["sh", "-c", "trap '' HUP; echo set; sleep 60"])
        await two.expect("set")
        with pytest.raises(ptykill.TooManySessions):
            await supervisor.spawn(["true"])
        with one.attach() as attachment:
            await trio.sleep(0.2)
            await one.send("abc\n")
            while b"12345" not in await attachment.receive():
                pass
            value = values_of(registry)
            assert value("attachments") == 1
            assert value("sessions", state="running") == 2
            assert value("input_bytes_total") == 4
            assert value("output_bytes_total") >= 12
        await one.terminate()
        await two.terminate(grace=0.3)
        with pytest.raises(ptykill.SpawnError):
            await supervisor.spawn(["/absent"])
        await (await supervisor.spawn(["true"])).wait()
        value = values_of(registry)
        assert value("sessions_spawned_total") == 3
        assert value("spawns_refused_total", code="TOO_MANY_SESSIONS") == 1
        assert value("spawns_refused_total", code="COMMAND_NOT_FOUND") == 1
        assert value("sessions_ended_total", outcome="graceful", reason="requested") == 1
        assert value("sessions_ended_total", outcome="killed", reason="requested") == 1
        assert value("sessions_ended_total", outcome="exited", reason="exited") == 1
        assert value("spawn_seconds_count") == 3
        assert value("end_seconds_count") == value("grace_seconds_count") == 3
        assert value("grace_seconds_sum") >= 0.3
        assert value("grace_seconds_bucket", le="0.25") <= 2
        assert value("grace_seconds_bucket", le="+Inf") == 3
        assert value("kill_seconds_count") == value("kill_seconds_bucket", le="+Inf") == 1
        assert value("input_bytes_total") == 4
        assert value("attachments_made_total") == 1
        assert (value("attachments"), value("attachments_dropped_total")) == (0, 0)
        assert (value("keepers_lost_total"), value("survivors")) == (0, 0)


async def test_a_lost_keeper_and_a_dropped_client(autojump_clock: trio.testing.MockClock) -> None:
    """What should not happen is counted as well: who outlives SIGKILL, and slow clients."""
    registry = CollectorRegistry()
    unkillable = FakeTier(Member(dies_of={"KILL": float("inf")}))
    async with ptykill.open_supervisor(containment=unkillable) as supervisor:
        with watch(supervisor, registry):
            session = await supervisor.spawn(["x"])
            with session.attach(limit=10):
                unkillable.spawned[0].terminal.write(b"x" * 100)
                await trio.sleep(10)
            assert values_of(registry)("attachments_dropped_total") == 1
            verdict = await session.terminate()
            assert not verdict.empty
            value = values_of(registry)
            assert value("survivors") == len(verdict.survivors) == 1
            assert value("sessions", state="stuck") == 1
            await supervisor.close(plan="KILL 1s")
            value = values_of(registry)
            assert value("sessions_ended_total", outcome="stuck", reason="requested") == 1
        assert page(registry)[1] == b""


def test_a_host_and_the_faces() -> None:
    """They have the metrics of their supervisor, in a registry of the program's."""
    for registry in CollectorRegistry(), CollectorRegistry():
        with ptykill.blocking.open_supervisor() as supervisor:
            metrics = watch(supervisor, registry)
            supervisor.run(["true"])
            assert values_of(registry)("sessions_spawned_total") == 1
            with pytest.raises(ValueError, match="Duplicated"):
                watch(supervisor.host, registry)
            metrics.close()
            metrics.close()
            watch(supervisor.host, registry).close()


def test_a_supervisor_that_nobody_watches_counts_nothing() -> None:
    """It has no figures: it costs a look at one attribute."""
    with ptykill.blocking.open_supervisor() as supervisor:
        supervisor.run(["true"])
        assert supervisor._of._figures is None


async def test_a_scrape_delays_no_kill() -> None:
    """Scrapes in a thread, all the time, while a session floods and another one is ended."""
    registry = CollectorRegistry()
    async with ptykill.open_supervisor() as supervisor, trio.open_nursery() as nursery:
        watch(supervisor, registry)
        flood = await supervisor.spawn(["sh", "-c", "yes"])
        over = trio.Event()

        async def scrape() -> None:
            while not over.is_set():
                await trio.to_thread.run_sync(page, registry)

        nursery.start_soon(scrape)
        for _ in range(20):
            session = await supervisor.spawn(["sleep", "60"])
            began = time.monotonic()
            assert (await session.terminate()).empty
            assert time.monotonic() - began < 5
        over.set()
        assert values_of(registry)("output_bytes_total") > 0
        await flood.kill()


async def test_a_counter_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even while a session is neither among the live ones nor counted as ended."""
    registry = CollectorRegistry()
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        watch(supervisor, registry)
        session = await supervisor.spawn(["x"])
        await session.send(b"12345")
        assert registry.get_sample_value("ptykill_input_bytes_total") == 5
        with monkeypatch.context() as patch:
            patch.setattr(prometheus, "live_sessions", lambda _: [])
            assert registry.get_sample_value("ptykill_input_bytes_total") == 5
