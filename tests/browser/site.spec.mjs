// The site in a real browser, against a running server. What to look at comes from the environment, so that the same file
// runs against any server; a test whose part is not named is skipped and says so.
//
//   CODA_URL          http://127.0.0.1:8484          CODA_LOGIN_LINK  the link that the server printed
//   CODA_LIVE_TASK    a task that runs               CODA_LIVE_TEXT   what its terminal shows within the deadline
//   CODA_ENDED_TASK   a task that ended              CODA_ENDED_TEXT  what its last screen shows
//   CODA_APPROVE, CODA_DENY                          two open requests that the login may decide
//   CHROMIUM          the browser's path

import assert from "node:assert/strict";
import { mkdtemp, mkdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const env = process.env;
const url = env.CODA_URL;
const deadline = 20_000;
const phone = { width: 390, height: 844 };
const desk = { width: 1200, height: 900 };
const pictures = path.resolve(import.meta.dirname, "../../screenshots");

let context, profile;
const complaints = [];

before(async () => {
  assert.ok(url && env.CODA_LOGIN_LINK, "set CODA_URL and CODA_LOGIN_LINK");
  await mkdir(pictures, { recursive: true });
  profile = await mkdtemp(path.join(tmpdir(), "coda-browser-"));
  context = await chromium.launchPersistentContext(profile, {
    executablePath: env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    viewport: desk,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  context.setDefaultTimeout(deadline);
});

after(async () => {
  await context?.close();
  if (profile) await rm(profile, { recursive: true, force: true });
});

// A page whose complaints count: whatever the content policy blocks, and whatever throws.
async function open(address, viewport = desk) {
  const page = await context.newPage();
  await page.setViewportSize(viewport);
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (line) => {
    if (line.type() === "error" && /Content Security Policy|Refused to/.test(line.text())) complaints.push(line.text());
  });
  await page.goto(new URL(address, url).href);
  return page;
}

async function shot(page, name) {
  await page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });
}

async function noSideways(page) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wide <= 0, `the page is ${wide} px too wide`);
}

const terminalText = (page) => page.locator(".xterm-rows").innerText();

async function shows(page, text) {
  await page.waitForFunction((wanted) => document.querySelector(".xterm-rows")?.textContent.replaceAll("\u00a0", " ").includes(wanted), text, { timeout: deadline });
}

test("without a login one is sent to log in, and comes back", async () => {
  const page = await open("/approvals");
  assert.equal(new URL(page.url()).pathname, "/login");
  await shot(page, "login-needed");
  await page.goto(env.CODA_LOGIN_LINK);
  await shot(page, "login");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL("**/tasks");
  await shot(page, "tasks");
  await page.goto(env.CODA_LOGIN_LINK);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("used already").waitFor();
  const cookies = await context.cookies();
  const login = cookies.find((c) => c.name === "coda_login");
  assert.ok(login.httpOnly && login.sameSite === "Strict");
  await page.close();
});

test("the viewer shows the live terminal and sends nothing to it", { skip: !env.CODA_LIVE_TASK && "CODA_LIVE_TASK is not set" }, async () => {
  const page = await context.newPage();
  const sent = [];
  page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => sent.push(String(payload))));
  await page.goto(new URL(`/tasks/${env.CODA_LIVE_TASK}`, url).href);
  await shows(page, env.CODA_LIVE_TEXT);
  await page.locator(".xterm").click();
  await page.keyboard.type("rm -rf /\n");
  await page.keyboard.press("Control+C");
  await page.waitForTimeout(300);
  assert.ok(sent.length > 0 && sent.every((text) => /^\d+$/.test(text)), `sent: ${sent}`);
  assert.match(await page.title(), /coda$/, "a terminal does not name the page");
  await shot(page, "viewer-live");
  await page.setViewportSize(phone);
  await page.waitForTimeout(300);
  await noSideways(page);
  await shot(page, "viewer-live-phone");
  await page.close();
});

test("after the end the same address replays", { skip: !env.CODA_ENDED_TASK && "CODA_ENDED_TASK is not set" }, async () => {
  const page = await open(`/tasks/${env.CODA_ENDED_TASK}`);
  await shows(page, env.CODA_ENDED_TEXT);
  await shot(page, "viewer-replay");
  await page.locator("input[type=range]").fill("0");
  await page.waitForFunction((text) => !document.querySelector(".xterm-rows").textContent.includes(text), env.CODA_ENDED_TEXT);
  await page.getByRole("button", { name: "Speed" }).click({ clickCount: 3 });
  await page.getByRole("button", { name: "Play" }).click();
  await shows(page, env.CODA_ENDED_TEXT);
  assert.notEqual(await terminalText(page), "");
  await page.close();
});

for (const [name, variable, button, status] of [
  ["approve", "CODA_APPROVE", "Approve once", /approved|consumed/],
  ["deny", "CODA_DENY", "Deny", /denied/],
]) {
  test(`a request can be decided on a phone: ${name}`, { skip: !env[variable] && `${variable} is not set` }, async () => {
    const queue = await open("/approvals", phone);
    await noSideways(queue);
    await shot(queue, `approvals-${name}`);
    await queue.locator(`a[href="/approvals/${env[variable]}"]`).click();
    await queue.getByRole("button", { name: button }).waitFor();
    await noSideways(queue);
    await shot(queue, `approval-${name}-open`);
    if (name === "deny") {
      await queue.getByRole("button", { name: button }).click();
      await queue.getByText("needs a reason").waitFor();
      await queue.getByLabel("Reason").fill("not on a Friday");
    }
    await queue.getByRole("button", { name: button }).click();
    await queue.locator(".badge").first().filter({ hasText: status }).waitFor();
    await shot(queue, `approval-${name}-decided`);
    await queue.close();
  });
}

test("another site can neither post a decision nor frame a page", { skip: !env.CODA_DENY && "CODA_DENY is not set" }, async () => {
  const answer = await context.request.post(new URL(`/approvals/${env.CODA_DENY}/decision`, url).href, {
    form: { decision: "approve" },
    headers: { origin: "https://evil.example" },
    maxRedirects: 0,
  });
  assert.equal(answer.status(), 403);
  const page = await context.request.get(new URL("/approvals", url).href);
  assert.match(page.headers()["content-security-policy"], /frame-ancestors 'none'/);
});

test("in the dark too", async () => {
  const page = await context.newPage();
  await page.emulateMedia({ colorScheme: "dark" });
  await page.goto(new URL("/approvals", url).href);
  await shot(page, "approvals-dark");
  await page.close();
});

test("nothing was blocked and nothing threw", () => assert.deepEqual(complaints, []));
