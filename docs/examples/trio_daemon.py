"""A shell for each connection, which ends with it: PORT=8023 python trio_daemon.py."""

import os
import signal

import ptykill
import trio


async def serve(supervisor: ptykill.Supervisor, stream: trio.SocketStream) -> None:
    async with await supervisor.spawn(["bash", "--norc", "-i"]) as session:

        async def tell(scope: trio.CancelScope) -> None:
            while output := await session.receive():
                await stream.send_all(output)
            scope.cancel()  # The shell has exited.

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell, nursery.cancel_scope)
            async for typed in stream:
                await session.send(bytes(typed))
            nursery.cancel_scope.cancel()  # The client has gone.


async def main() -> None:
    async with ptykill.open_supervisor(plan="HUP@session 2s, KILL") as supervisor:

        async def handle(stream: trio.SocketStream) -> None:
            try:
                await serve(supervisor, stream)
            except* (trio.BrokenResourceError, ptykill.PtykillError) as group:
                print(*group.exceptions)

        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_tcp, handle, int(os.environ["PORT"]))
                async for _ in signals:
                    nursery.cancel_scope.cancel()


trio.run(main)
