"""A server of the library websockets; argument: the port."""

import asyncio
import sys

import websockets


async def main() -> None:
    async with websockets.serve(lambda socket: socket.close(), "127.0.0.1", int(sys.argv[1])):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
