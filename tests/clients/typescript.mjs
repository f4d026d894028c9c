// The TypeScript client against a coda server, in one mode: `legacy`, `auto`, or a version to pin. The client itself holds
// structured content to the listed output schema. Prints a line for each check, as contract.py does.
//
//   CODA_TEST_URL=… CODA_TEST_TOKEN=… CODA_TEST_EXPIRED=… CODA_TEST_REVOKED=… node typescript.mjs MODE

import { Client, ProtocolError, SdkHttpError, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const mode = process.argv[2];
const { CODA_TEST_URL: url, CODA_TEST_TOKEN: token, CODA_TEST_EXPIRED: expired, CODA_TEST_REVOKED: revoked } = process.env;
const DEADLINE_MS = 60_000;
const FINAL = ["completed", "failed", "timed_out", "cancelled", "denied"];
const PARAMETERS = {
  coda_run: ["agent", "context", "permissions", "previous_session_id", "prompt", "timeout_s", "workspace"],
  coda_inbox: ["all", "cursor", "limit", "status"],
  coda_get_result: ["session_id", "task_id"],
};
const MISTAKES = [
  ["coda_run", {}, "prompt is missing"],
  ["coda_run", { prompt: 7 }, "prompt must be text"],
  ["coda_run", { prompt: "x", agent: "nobody" }, "nobody"],
  ["coda_inbox", { status: "finished" }, "there is no status"],
  ["coda_inbox", { cursor: "AAAA" }, "cursor"],
  ["coda_get_result", { task_id: "task_../../x" }, "task id"],
  ["coda_get_result", { task_id: `task_${"0".repeat(32)}` }, "not found"],
];
const negotiation = mode === "legacy" || mode === "auto" ? { mode } : { mode: { pin: mode } };
const negotiated = mode === "legacy" ? "2025-11-25" : "2026-07-28";

function require(condition, text) {
  if (!condition) throw new Error(text);
}

async function connect(bearer) {
  const headers = bearer ? { Authorization: `Bearer ${bearer}` } : {};
  const client = new Client({ name: "coda-tests", version: "1" }, { versionNegotiation: negotiation });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  return client;
}

let failed = 0;
async function check(what, step) {
  try {
    await step();
    console.log(`ok typescript, ${mode}: ${what}`);
  } catch (why) {
    failed += 1;
    console.log(`not ok typescript, ${mode}: ${what}: ${why?.name}: ${why?.message}`);
  }
}

const client = await connect(token);

async function good(name, given) {
  const answer = await client.callTool({ name, arguments: given });
  require(!answer.isError, `${name} failed: ${answer.content?.[0]?.text}`);
  require(answer.content?.[0]?.text, `${name} gave no text`);
  require(answer.structuredContent, `${name} gave no structured content`);
  return answer.structuredContent;
}

async function until(accepted, status) {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const result = await good("coda_get_result", { task_id: accepted.task_id, session_id: accepted.session_id });
    if (result.status === status) return result;
    require(!FINAL.includes(result.status), `the task ended otherwise: ${JSON.stringify(result)}`);
    require(Date.now() < end, `after ${DEADLINE_MS} ms still ${result.status}`);
    await new Promise((later) => setTimeout(later, 200));
  }
}

const ids = (inbox) => inbox.tasks.map((task) => task.task_id);

await check("connects", async () => {
  require(client.getNegotiatedProtocolVersion() === negotiated, `negotiated ${client.getNegotiatedProtocolVersion()}`);
  require(client.getServerVersion()?.name === "coda", `the server is ${JSON.stringify(client.getServerVersion())}`);
  require(client.getInstructions()?.includes("Do not loop"), "no instructions");
});

await check("lists three tools with their schemas", async () => {
  const { tools } = await client.listTools();
  require(tools.map((tool) => tool.name).join() === Object.keys(PARAMETERS).join(), `tools are ${tools.map((t) => t.name)}`);
  for (const tool of tools) {
    const given = Object.keys(tool.inputSchema.properties).sort().join();
    require(given === PARAMETERS[tool.name].join(), `${tool.name} takes ${given}`);
    require(tool.outputSchema?.required?.includes("next"), `${tool.name} declares no output schema`);
    require(tool.annotations?.readOnlyHint === (tool.name !== "coda_run"), `${tool.name}: annotations`);
  }
});

await check("hands a task over, sees it in the inbox and reads its result", async () => {
  const accepted = await good("coda_run", { prompt: "Say hello.\n\n```sh\necho hello from $0\n```\n", agent: "runbook" });
  require(ids(await good("coda_inbox", {})).includes(accepted.task_id), "the inbox does not show the task");
  const result = await until(accepted, "completed");
  require(Array.isArray(result.files_changed), `the result is ${JSON.stringify(result)}`);
});

await check("sees who must decide on a held task", async () => {
  const accepted = await good("coda_run", { prompt: "Tidy up.\n\n```sh\nmkdir -p old\nrm -rf old\n```\n", agent: "runbook" });
  const { waiting_for: waiting } = await until(accepted, "needs_approval");
  require(waiting?.who && waiting?.until && waiting?.link?.includes("/approvals/"), `waiting for ${JSON.stringify(waiting)}`);
  const inbox = await good("coda_inbox", { status: "needs_approval" });
  require(ids(inbox).includes(accepted.task_id) && inbox.counts.needs_approval >= 1, "the inbox does not show the held task");
});

await check("is told of its mistakes by error results", async () => {
  for (const [name, given, says] of MISTAKES) {
    const answer = await client.callTool({ name, arguments: given });
    const text = answer.content?.[0]?.text ?? "";
    require(answer.isError && text.includes(says) && text.includes('"next"'), `${name} ${JSON.stringify(given)}: ${text}`);
  }
});

await check("is told that there is no such tool", async () => {
  try {
    await client.callTool({ name: "coda_nothing", arguments: {} });
  } catch (error) {
    require(error instanceof ProtocolError && error.code === -32602, `${error?.name} ${error?.code}: ${error?.message}`);
    require(error.message.includes("coda_inbox"), error.message);
    return;
  }
  require(false, "an unknown tool was called");
});
await client.close();

const refused = { "no token": undefined, "an unknown token": `coda_tok_${"x".repeat(43)}`, "an expired token": expired, "a revoked token": revoked };
for (const [what, bearer] of Object.entries(refused)) {
  await check(`is not let in with ${what}`, async () => {
    try {
      await (await connect(bearer)).listTools();
    } catch (error) {
      const cause = error instanceof SdkHttpError ? error : error?.cause;
      require(cause?.status === 401 || /401|Unauthorized|coda token create/.test(String(error)), `${error?.name}: ${error?.message}`);
      return;
    }
    require(false, "the server let it in");
  });
}
process.exit(failed ? 1 : 0);
