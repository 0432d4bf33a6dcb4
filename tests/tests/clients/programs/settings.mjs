// node settings.mjs PORT: answers over HTTP/2 without TLS. It says its SETTINGS as soon as somebody connects.
import { createServer } from "node:http2";

createServer((request, response) => {
  console.log(`${request.method} ${request.url}`);
  response.end("read\n");
}).listen(Number(process.argv[2]), "0.0.0.0");
