client() {
    python3 - <<'END'
import asyncio

async def serve(reader, writer):
    writer.write(await reader.readline())
    writer.close()

async def main():
    server = await asyncio.start_unix_server(serve, "asyncio.sock")
    async with server:
        reader, writer = await asyncio.open_unix_connection("asyncio.sock")
        writer.write(b"text\n")
        print((await reader.readline()).decode(), end="")
        writer.close()

asyncio.run(main())
END
}
