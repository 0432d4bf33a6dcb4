"""python3 echo.py PORT: a WebSocket server that sends back what it gets, and prints it."""

import asyncio
import sys

import websockets


async def echo(socket):
    print("opened", flush=True)
    async for message in socket:
        print("got", message if isinstance(message, str) else len(message), flush=True)
        await socket.send(message)


async def main():
    async with websockets.serve(echo, "0.0.0.0", int(sys.argv[1]), max_size=None):
        await asyncio.Future()


asyncio.run(main())
