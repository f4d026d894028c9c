// Asks coda's gates before each tool call and about each result; written by coda, for each attempt anew.
// A throw keeps Pi from running the call, so no answer is no permission.

const WAIT_S = Number(process.env.CODA_HOOK_WAIT_S) || 36;
// Beyond what people may take: the way there and back.
const WAY_S = 10;

async function ask(question: unknown): Promise<any> {
  const answer = await fetch(`${process.env.CODA_GATEWAY_URL}/agent/hook`, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.CODA_GATEWAY_TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify(question),
    signal: AbortSignal.timeout((WAIT_S + WAY_S) * 1000),
  });
  if (!answer.ok) throw new Error(`coda's gates answer ${answer.status}`);
  return answer.json();
}

async function screened(event: any, content: string): Promise<string> {
  try {
    const said = await ask({ phase: "after", call_id: event.toolCallId, tool: event.toolName, content });
    return said?.verdict === "deliver" ? said.content : (said?.message ?? "withheld by coda");
  } catch (error) {
    return `withheld by coda: its gates could not be asked (${(error as Error).name})`;
  }
}

export default function (pi: any) {
  pi.on("tool_call", async (event: any) => {
    const said = await ask({
      phase: "before", call_id: event.toolCallId, tool: event.toolName, arguments: event.input ?? {}, wait_s: WAIT_S,
    });
    if (said?.verdict !== "run") return { block: true, reason: said?.message ?? "refused by coda: no reason was given" };
  });
  pi.on("tool_result", async (event: any) => {
    const parts = await Promise.all((event.content ?? []).map(async (part: any) =>
      part.type === "text" ? { ...part, text: await screened(event, part.text) } : part));
    return { content: parts };
  });
}
