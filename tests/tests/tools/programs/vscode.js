// What VS Code's page does with its server: it asks for an extension host, and for a terminal, in which a shell writes a file. Frames
// are those of its PersistentProtocol, without WebSocket's around them; calls are those of its IPC.
const fs = require("fs");
const http = require("http");
const { randomUUID } = require("crypto");

const socketPath = process.argv[2];
const REGULAR = 1, CONTROL = 2;
const MANAGEMENT = 1, EXTENSION_HOST = 2;
const CALL = 100, INITIALIZE = 200, SUCCESS = 201;
const HEAD = 13;

function frame(type, id, body) {
    const head = Buffer.alloc(HEAD);
    head.writeUInt8(type, 0);
    head.writeUInt32BE(id, 1);
    head.writeUInt32BE(body.length, 9);
    return Buffer.concat([head, body]);
}

// Tells `on` of each frame that arrives.
function frames(socket, first, on) {
    let bytes = first;
    const take = () => {
        while (bytes.length >= HEAD && bytes.length >= HEAD + bytes.readUInt32BE(9)) {
            const end = HEAD + bytes.readUInt32BE(9);
            on(bytes.readUInt8(0), bytes.subarray(HEAD, end));
            bytes = bytes.subarray(end);
        }
    };
    socket.on("data", (more) => {
        bytes = Buffer.concat([bytes, more]);
        take();
    });
    take();
}

// A connection of that kind, once the server has taken it.
function connect(kind, args, onMessage) {
    return new Promise((resolve, reject) => {
        const query = `reconnectionToken=${randomUUID()}&reconnection=false&skipWebSocketFrames=true`;
        const key = Buffer.alloc(16).toString("base64");
        const upgrade = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": 13, "Sec-WebSocket-Key": key };
        const asked = http.request({ socketPath, path: `/?${query}`, headers: upgrade });
        asked.on("error", reject);
        asked.on("response", (answer) => reject(new Error(`HTTP ${answer.statusCode}`)));
        asked.on("upgrade", (_, socket, first) => {
            const say = (control) => socket.write(frame(CONTROL, 0, Buffer.from(JSON.stringify(control))));
            socket.on("error", reject);
            socket.on("close", () => reject(new Error("the server has closed")));
            frames(socket, first, (type, body) => {
                if (type === REGULAR) onMessage(body);
                if (type !== CONTROL) return;
                const said = JSON.parse(String(body));
                if (said.type === "sign") {
                    say({ type: "connectionType", signedData: said.data, desiredConnectionType: kind, args });
                } else if (said.type === "error") {
                    reject(new Error(said.reason));
                } else {
                    resolve(socket);
                }
            });
            say({ type: "auth", auth: "00000000000000000000", data: randomUUID() });
        });
        asked.end();
    });
}

function count(number) {
    const bytes = [];
    do {
        bytes.push((number & 127) | (number > 127 ? 128 : 0));
        number >>>= 7;
    } while (number);
    return Buffer.from(bytes);
}

function value(it) {
    const sized = (kind, length, rest) => Buffer.concat([Buffer.from([kind]), count(length), ...rest]);
    if (typeof it === "number") return sized(6, it, []);
    if (Array.isArray(it)) return sized(4, it.length, it.map(value));
    const text = Buffer.from(typeof it === "string" ? it : JSON.stringify(it));
    return sized(typeof it === "string" ? 1 : 5, text.length, [text]);
}

// It is a process of its own, which is handed the connection.
async function extensionHost() {
    let ready;
    const isReady = new Promise((resolve) => { ready = resolve; });
    await connect(EXTENSION_HOST, { language: "en" }, (body) => { if (body.length === 1) ready(); });
    await isReady;
    console.log("extension host: ready");
}

const TERMINAL = {
    configuration: {}, resolvedVariables: {}, envVariableCollections: [],
    shellLaunchConfig: { executable: "/bin/sh", args: ["-c", "tty >tty && mv tty said && exec sleep 1000"], cwd: process.cwd(), env: {} },
    workspaceId: "here", workspaceName: "here", workspaceFolders: [], activeWorkspaceFolder: null, shouldPersistTerminal: false,
    options: {
        shellIntegration: { enabled: false, suggestEnabled: false, nonce: "" },
        windowsUseConptyDll: false, isScreenReaderOptimized: false,
    },
    cols: 80, rows: 24, unicodeVersion: "11",
};

async function terminal() {
    const waiting = new Map();
    const initialized = new Promise((resolve) => waiting.set(INITIALIZE, { resolve }));
    const socket = await connect(MANAGEMENT, {}, (body) => {
        // [kind] or [kind, id], and behind it a value; of 200 and more, a number has two bytes.
        const kind = body[3] & 127 | body[4] << 7;
        const key = kind === INITIALIZE ? INITIALIZE : body[6];
        const call = waiting.get(key);
        if (!call) return;
        if (kind === INITIALIZE || kind === SUCCESS) call.resolve();
        else call.reject(new Error(`${kind}: ${body}`));
    });
    let sent = 0;
    const send = (...values) => socket.write(frame(REGULAR, ++sent, Buffer.concat(values.map(value))));
    const call = (id, name, args) => new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        send([CALL, id, "remoteterminal", name], args);
    });
    send({ remoteAuthority: "here", clientId: "renderer" });
    await initialized;
    await call(1, "$createProcess", TERMINAL);
    await call(2, "$start", [1]);
    while (!fs.existsSync("said")) await new Promise((resolve) => setTimeout(resolve, 50));
    console.log(`terminal: ${fs.readFileSync("said", "utf8").replace(/[0-9]+/, "N").trim()}`);
}

extensionHost().then(terminal).then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
});
