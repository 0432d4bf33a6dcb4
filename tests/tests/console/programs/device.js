// A browser, as a push service and a console know it: it has keys, and reads what is sent to it with another's code.
// `new` prints keys. With a message on standard input, what it says and who signed for it.
const crypto = require("node:crypto");
const ece = require("http_ece");

const base64 = (bytes) => bytes.toString("base64url");

function made() {
  const key = crypto.createECDH("prime256v1");
  key.generateKeys();
  return { private: base64(key.getPrivateKey()), p256dh: base64(key.getPublicKey()), auth: base64(crypto.randomBytes(16)) };
}

function read({ device, body, authorization }) {
  const key = crypto.createECDH("prime256v1");
  key.setPrivateKey(Buffer.from(device.private, "base64url"));
  const text = ece.decrypt(Buffer.from(body, "base64url"), { version: "aes128gcm", privateKey: key, authSecret: device.auth });
  const [, token, vapid] = authorization.match(/^vapid t=([^,]+), k=(.+)$/);
  const [head, claims, signature] = token.split(".");
  const point = Buffer.from(vapid, "base64url");
  const jwk = { kty: "EC", crv: "P-256", x: base64(point.subarray(1, 33)), y: base64(point.subarray(33)) };
  const signer = { key: crypto.createPublicKey({ key: jwk, format: "jwk" }), dsaEncoding: "ieee-p1363" };
  const isSigned = crypto.verify("sha256", Buffer.from(`${head}.${claims}`), signer, Buffer.from(signature, "base64url"));
  const json = (part) => JSON.parse(Buffer.from(part, "base64url"));
  return { told: JSON.parse(text), head: json(head), claims: json(claims), signed: isSigned, vapid };
}

const input = process.argv[2] === "new" ? "" : require("node:fs").readFileSync(0, "utf8");
console.log(JSON.stringify(input ? read(JSON.parse(input)) : made()));
