// Reads and writes by node-postgres: driver.mjs read|write
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const { Client } = require("pg");

const client = new Client({ host: "192.0.2.10", user: "app", database: "shop", password: "hunter2-of-the-shop" });
await client.connect();
console.log((await client.query("select name from people where id = $1", [7])).rows);
console.log((await client.query({ name: "named", text: "select count(*) from people where id > $1", values: [1] })).rows);
console.log((await client.query({ name: "named", text: "select count(*) from people where id > $1", values: [50] })).rows);
if (process.argv[2] === "write") {
  console.log((await client.query("update people set name = $1 where id = $2", ["by node", 7])).rowCount);
}
await client.end();
