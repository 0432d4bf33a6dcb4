client() {
    cat >cluster.js <<'END'
const cluster = require("cluster"), http = require("http");
if (cluster.isPrimary) {
    cluster.setupPrimary({ silent: true });
    for (let n = 0; n < 2; n++) cluster.fork();
    let listening = 0;
    cluster.on("listening", async () => {
        if (++listening < 2) return;
        for (let n = 0; n < 4; n++) console.log(await (await fetch("http://127.0.0.1:8000/")).text());
        for (const id in cluster.workers) cluster.workers[id].kill();
    });
} else http.createServer((_, answer) => { answer.setHeader("Connection", "close"); answer.end("from a worker"); }).listen(8000, "127.0.0.1");
END
    node cluster.js
}
