// Asks coda's gates before each tool call and about each result; written by coda, for each attempt anew.
// A throw keeps OpenCode from running the call, so no answer is no permission.

const WAIT_S = Number(process.env.CODA_HOOK_WAIT_S) || 36
// Beyond what people may take: the way there and back.
const WAY_S = 10

async function ask(question) {
  const answer = await fetch(`${process.env.CODA_GATEWAY_URL}/agent/hook`, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.CODA_GATEWAY_TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify(question),
    signal: AbortSignal.timeout((WAIT_S + WAY_S) * 1000),
  })
  if (!answer.ok) throw new Error(`coda's gates answer ${answer.status}`)
  return answer.json()
}

export const CodaGates = async () => ({
  "tool.execute.before": async (input, output) => {
    const said = await ask({
      phase: "before", call_id: input.callID, tool: input.tool, arguments: output.args ?? {}, wait_s: WAIT_S,
    })
    if (said?.verdict !== "run") throw new Error(said?.message ?? "refused by coda: no reason was given")
  },
  "tool.execute.after": async (input, output) => {
    const content = typeof output.output === "string" ? output.output : JSON.stringify(output.output ?? "")
    output.output = "withheld by coda"
    const said = await ask({ phase: "after", call_id: input.callID, tool: input.tool, content })
    output.output = said?.verdict === "deliver" ? said.content : (said?.message ?? "withheld by coda")
  },
})
