client() {
    node - <<'END'
const net = require("net");
const server = net.createServer((socket) => socket.end("text")).listen("ipc.sock", () => {
    net.connect("ipc.sock").on("data", (said) => console.log(String(said))).on("close", () => server.close());
});
END
}
