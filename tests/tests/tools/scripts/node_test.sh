client() {
    cat >one.test.mjs <<'END'
import { test } from "node:test";
import assert from "node:assert";
import net from "node:net";
test("a connection", async () => {
    const server = net.createServer((socket) => socket.end("text")).listen(0, "127.0.0.1");
    await new Promise((so) => server.once("listening", so));
    let said = "";
    for await (const part of net.connect(server.address().port, "127.0.0.1")) said += part;
    assert.equal(said, "text");
    server.close();
});
END
    cp one.test.mjs two.test.mjs
    node --test | grep -oE '(pass|fail) [0-9]+'
}
