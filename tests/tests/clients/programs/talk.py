"""python3 talk.py URL: says something over a WebSocket, and prints what comes back."""

import asyncio
import sys

import websockets


async def main():
    async with websockets.connect(sys.argv[1], max_size=None, open_timeout=60) as socket:
        for message in ["one", "two", "x" * 1_000_000]:
            await socket.send(message)
            told = await socket.recv()
            assert told == message
            print("told", told if len(told) < 9 else len(told))
        await socket.send(bytes(range(256)))
        assert await socket.recv() == bytes(range(256))
        print("bytes")


asyncio.run(main())
