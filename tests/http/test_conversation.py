"""A conversation on a virtual clock: its time-outs for slow and silent clients."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import ptykill
from ptykill.http import frames
from ptykill.http.asgi_types import Message
from ptykill.http.conversation import batch_sender, run_conversation
from ptykill.http.tokens import Access, Admission, Tokens
from ptykill.testing import FakeTier

MINUTE = 60.0
FLOOD = 4 << 20


class Client:
    """The server's side of a client, which reads ``takes`` frames, and none after them."""

    def __init__(self, takes: float = math.inf) -> None:
        self.takes = takes
        self.told: list[Message] = []
        self._says, self._heard = trio.open_memory_channel[Message](math.inf)

    def say(self, frame: bytes) -> None:
        """Send something to the app."""
        self._says.send_nowait({"type": "websocket.receive", "bytes": frame})

    def leave(self) -> None:
        """Disconnect."""
        self._says.send_nowait({"type": "websocket.disconnect", "code": 1000})

    async def receive(self) -> Message:
        """Return the client's next message."""
        return await self._heard.receive()

    async def send(self, message: Message) -> None:
        """Read a message, if the client still reads."""
        if len(self.told) >= self.takes:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.told.append(message)


def admitted(session: ptykill.Session, access: Access = Access.WRITE) -> Admission:
    """Return a client's right to attach."""
    return Admission(session, Tokens().issue(session, access))


@pytest.fixture
async def spawned(autojump_clock: MockClock) -> AsyncIterator[tuple[ptykill.Session, FakeTier]]:
    """Spawn one session, whose terminal is the tier's."""
    tier = FakeTier()
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        yield await supervisor.spawn(["bash"]), tier


async def test_a_dead_client_is_detached(
    spawned: tuple[ptykill.Session, FakeTier],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a minute in which it reads and sends nothing; its output is kept."""
    session, tier = spawned
    client = Client(takes=3)
    client.say(frames.READY)
    tier.spawned[0].terminal.write(b"x" * 500_000)
    began = trio.current_time()
    await run_conversation(admitted(session), client.receive, batch_sender(client.send))
    assert trio.current_time() - began == pytest.approx(MINUTE, abs=3)
    assert "code=1006 reason='silent'" in caplog.text
    with session.attach() as attachment:
        assert await attachment.receive(FLOOD) == b"x" * 500_000


async def test_a_client_that_sends_lives(
    spawned: tuple[ptykill.Session, FakeTier],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It stays attached as long as it sends, though it reads nothing, and may disconnect."""
    session, tier = spawned
    client = Client(takes=3)
    client.say(frames.READY)
    tier.spawned[0].terminal.write(b"x" * 500_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            run_conversation, admitted(session), client.receive, batch_sender(client.send)
        )
        for _ in range(10):
            await trio.sleep(0.9 * MINUTE)
            client.say(frames.input_frame(b"y"))
        await wait_all_tasks_blocked()
        assert "client.dropped" not in caplog.text
        client.leave()
    assert tier.spawned[0].terminal.typed == b"y" * 10


async def test_a_client_without_output_stays_attached(
    spawned: tuple[ptykill.Session, FakeTier], autojump_clock: MockClock
) -> None:
    """If both sides are silent, only the server can find a dead client, by its PINGs."""
    session, tier = spawned
    client = Client()
    client.say(frames.READY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            run_conversation, admitted(session), client.receive, batch_sender(client.send)
        )
        await trio.sleep(1000 * MINUTE)
        tier.spawned[0].exit()
    exit_frame = {"type": "websocket.send", "bytes": struct.pack(">Bi", 3, 0)}
    assert client.told == [
        exit_frame,
        {"type": "websocket.close", "code": 1000, "reason": "exit:0"},
    ]


async def test_a_dropped_client_gets_the_close_after_the_current_frame(
    spawned: tuple[ptykill.Session, FakeTier], autojump_clock: MockClock
) -> None:
    """If it reads within a minute, while the others go on; no frame is cut off in its middle."""
    session, tier = spawned
    took = trio.Event()
    client = Client(takes=0)

    async def send_late(message: Message) -> None:
        await took.wait()
        client.told.append(message)

    client.say(frames.READY)
    with session.attach() as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                run_conversation, admitted(session), client.receive, batch_sender(send_late)
            )
            await wait_all_tasks_blocked()
            received = 0
            while received < FLOOD:
                tier.spawned[0].terminal.write(b"x" * 65_536)
                received += len(await other.receive(FLOOD))
            await trio.sleep(0.9 * MINUTE)
            took.set()
    *output, close = client.told
    assert {each["type"] for each in output} == {"websocket.send"}
    assert sum(len(each["bytes"]) for each in output) < FLOOD / 8
    assert close == {"type": "websocket.close", "code": 1013, "reason": "too slow"}


async def test_a_dropped_client_that_reads_nothing(
    spawned: tuple[ptykill.Session, FakeTier], autojump_clock: MockClock
) -> None:
    """It can't get the close; after a minute it is detached."""
    session, tier = spawned
    client = Client(takes=0)
    client.say(frames.READY)
    with session.attach() as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                run_conversation, admitted(session), client.receive, batch_sender(client.send)
            )
            await wait_all_tasks_blocked()
            began = trio.current_time()
            received = 0
            while received < FLOOD:
                tier.spawned[0].terminal.write(b"x" * 65_536)
                received += len(await other.receive(FLOOD))
            assert trio.current_time() - began == pytest.approx(1.0)
        assert trio.current_time() - began == pytest.approx(MINUTE, abs=3)
    assert client.told == []


async def test_pending_output_is_sent_in_few_calls(
    spawned: tuple[ptykill.Session, FakeTier],
) -> None:
    """Each call may switch to another thread and back; a frame has the largest size."""
    session, tier = spawned
    client = Client()
    sent: list[int] = []

    async def send_some(*messages: Message) -> int:
        sent.append(await batch_sender(client.send)(*messages))
        return sent[-1]

    client.say(frames.READY)
    tier.spawned[0].terminal.write(b"x" * 200_000)
    await wait_all_tasks_blocked()
    tier.spawned[0].exit()
    await run_conversation(admitted(session), client.receive, send_some)
    assert sent == [7, 1, 1]  # The output, the exit frame, the close.
    assert max(len(each["bytes"]) for each in client.told[:-1]) == frames.LARGEST


async def test_a_slow_client_has_a_time_out_for_each_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch returns after a frame that took long, and always after at least one."""
    client = Client()
    messages = [{"type": "websocket.send", "bytes": b"x"}] * 3
    assert await batch_sender(client.send)(*messages) == 3
    monkeypatch.setattr("ptykill.http.conversation._BATCH_SECONDS", 0.0)
    assert await batch_sender(client.send)(*messages) == 1
    assert len(client.told) == 4


async def test_a_client_that_may_only_read_holds_nothing_up(
    spawned: tuple[ptykill.Session, FakeTier],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is dropped after a second, though it is the only one; one that may type is not."""
    session, tier = spawned
    for access, dropped in (Access.WRITE, False), (Access.READ, True):
        client = Client(takes=3)
        client.say(frames.READY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                run_conversation,
                admitted(session, access),
                client.receive,
                batch_sender(client.send),
            )
            await wait_all_tasks_blocked()
            tier.spawned[0].terminal.write(b"x" * FLOOD)
            await trio.sleep(10)
            assert ("too slow" in caplog.text) is dropped
            client.takes = math.inf
            client.leave()


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("how", ["revoked", "expired", "replaced"])
async def test_what_was_typed_is_discarded_with_the_right_to_type(
    spawned: tuple[ptykill.Session, FakeTier],
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    *,
    leaves: bool,
) -> None:
    """A paste that the program has not read yet; but a client that has come back keeps it."""
    session, tier = spawned
    tokens, terminal = Tokens(), tier.spawned[0].terminal
    grant = tokens.issue(session, Access.WRITE, 0.5 if how == "expired" else math.inf)
    send_all = terminal.send_all

    async def send_late(data: bytes) -> None:
        await trio.sleep(1)
        await send_all(data)

    monkeypatch.setattr(terminal, "send_all", send_late)
    client, newer = Client(), Client()
    client.say(frames.READY)
    client.say(frames.input_frame(b"x" * 5_000))
    if leaves:
        client.leave()
    async with trio.open_nursery() as nursery:

        async def attach(client: Client) -> None:
            admission = Admission(session, grant, "page")
            await run_conversation(admission, client.receive, batch_sender(client.send))

        nursery.start_soon(attach, client)
        await trio.sleep(0.25)
        if how == "revoked":
            tokens.revoke(session, grant.id)
        elif how == "replaced":
            nursery.start_soon(attach, newer)
        await trio.sleep(5)
        assert terminal.typed == (b"x" * 5_000 if how == "replaced" else b"")
        newer.leave()
    assert session.attached == 0


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_right_that_ends_between_its_check_and_the_attach(
    spawned: tuple[ptykill.Session, FakeTier], autojump_clock: MockClock, how: str
) -> None:
    """The client gets the reason, and nothing that it types or tells is carried out."""
    session, tier = spawned
    tokens = Tokens()
    grant = tokens.issue(session, Access.WRITE, 1.0 if how == "expired" else math.inf)
    assert tokens.check(session, grant.token) is grant
    if how == "revoked":
        tokens.revoke(session, grant.id)
    else:
        await trio.sleep(1)
    client = Client()
    for frame in frames.READY, frames.input_frame(b"x"), frames.resize_frame(50, 120):
        client.say(frame)
    admission = Admission(session, grant)
    with trio.move_on_after(MINUTE):
        await run_conversation(admission, client.receive, batch_sender(client.send))
    (close,) = client.told
    assert (close["code"], how in close["reason"]) == (1008, True)
    assert (tier.spawned[0].terminal.typed, session.rows, session.attached) == (b"", 24, 0)


async def test_clients_without_a_name_do_not_replace_each_other(
    spawned: tuple[ptykill.Session, FakeTier], autojump_clock: MockClock
) -> None:
    """Two pages may have the same token; the end of that detaches both."""
    session, _ = spawned
    tokens = Tokens()
    grant = tokens.issue(session, Access.READ)
    clients = [Client(), Client()]
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + MINUTE
        for each in clients:
            each.say(frames.READY)
            nursery.start_soon(
                run_conversation, Admission(session, grant), each.receive, batch_sender(each.send)
            )
        await wait_all_tasks_blocked()
        assert session.attached == 2
        tokens.revoke(session, grant.id)
    assert [each.told[-1]["reason"] for each in clients] == ["the token was revoked"] * 2
