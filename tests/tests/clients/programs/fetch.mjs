// node fetch.mjs METHOD URL [FILE]: looks with GET, then asks.
import { readFileSync } from "node:fs";

const [method, url, file] = process.argv.slice(2);
const base = url.slice(0, url.lastIndexOf("/") + 1);
const looked = await fetch(base);
await looked.text();
console.log("GET", looked.status);
const answer = await fetch(url, { method, body: file && readFileSync(file) });
const text = await answer.text();
console.log(method, answer.status, answer.headers.get("content-type"));
if (answer.status === 403) console.log(JSON.parse(text).type);
