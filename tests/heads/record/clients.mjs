// Clients of Node, plain and with Sentry: each sends one GET to URL/NAME. Prints `NAME TAB note`.
// NODE_PATH does not apply to modules, so this file runs from the folder with the packages.
import http from "node:http";
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const url = process.argv[2];
const version = (name) =>
  JSON.parse(require("node:fs").readFileSync(`node_modules/${name}/package.json`, "utf8")).version;
const note = (name, program, call) => console.log(`${name}\t${program}; recorded: ${call}`);
const node = `Node ${process.versions.node}`;
const load = async (name) => {
  const module = await import(require.resolve(name));
  return module.default ?? module;
};

await (await fetch(`${url}/node-fetch-builtin`)).text();
note("node-fetch-builtin", `${node}, undici ${process.versions.undici}`, "fetch(url)");
await (await fetch(`${url}/node-fetch-builtin-json`, { headers: { Accept: "application/json" } })).text();
note("node-fetch-builtin-json", node, "fetch(url, { headers: { Accept } })");
await new Promise((done) => http.get(`${url}/node-http`, (response) => response.resume().on("end", done)));
note("node-http", node, "http.get(url)");
const axios = await load("axios");
await axios.get(`${url}/axios`);
note("axios", `axios ${version("axios")}, ${node}`, "axios.get(url)");
await axios.get(`${url}/axios-bearer`, { headers: { Authorization: "Bearer secret" } });
note("axios-bearer", `axios ${version("axios")}, ${node}`, "axios.get(url, { headers: { Authorization } })");
const { got } = await import(new URL("node_modules/got/dist/source/index.js", `file://${process.cwd()}/`));
await got(`${url}/got`).json();
note("got", `got ${version("got")}, ${node}`, "got(url).json()");
const undici = await load("undici");
await (await undici.request(`${url}/undici-request`)).body.text();
note("undici-request", `undici ${version("undici")}, ${node}`, "undici.request(url)");
const superagent = await load("superagent");
await superagent.get(`${url}/superagent`);
note("superagent", `superagent ${version("superagent")}, ${node}`, "superagent.get(url)");
const needle = await load("needle");
await needle("get", `${url}/needle`);
note("needle", `needle ${version("needle")}, ${node}`, 'needle("get", url)');
const { default: nodeFetch } = await import(new URL("node_modules/node-fetch/src/index.js", `file://${process.cwd()}/`));
await (await nodeFetch(`${url}/node-fetch`)).text();
note("node-fetch", `node-fetch ${version("node-fetch")}, ${node}`, "fetch(url)");
const sentry = require("@sentry/node");
sentry.init({ dsn: "http://key@127.0.0.1:1/1", tracesSampleRate: 1 });
await sentry.startSpan({ name: "record" }, async () => (await fetch(`${url}/sentry-node`)).text());
note("sentry-node", `@sentry/node ${version("@sentry/node")}, ${node}`, "fetch(url) inside of a span (sends baggage)");
process.exit(0);
