// The site in a real browser, against a running server that browser.sh has set up. Nothing is skipped: what is missing in
// the environment is a failure.
//
//   ANN, BEN, EVE     the site as three people see it: the submitter, an approver, and one with nothing to see here
//   LIVE_TASK         prints a part whenever a file named 'go' is made in LIVE_DIR, three times, then ends
//   ENDED_TASK        has ended; ENDED_TEXT is on its last screen
//   APPROVE, DENY     two open requests to run HELD_COMMAND in a folder 'reports'; APPROVE_TASK, DENY_TASK are their tasks
//   PLAN              a third, of several commands, that stays open until the last tests
//   LOCAL_URL, LOGIN_LINK   a server for one person, and the link that it printed
//   CHROMIUM          the browser's path

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const env = process.env;
const deadline = 30_000;
const phone = { width: 390, height: 844 };
const desk = { width: 1200, height: 900 };
const pictures = path.resolve(import.meta.dirname, "../../screenshots");

let browser;
const people = {};
const complaints = [];

before(async () => {
  for (const name of ["ANN", "BEN", "EVE", "LIVE_TASK", "LIVE_DIR", "ENDED_TASK", "ENDED_TEXT", "APPROVE", "APPROVE_TASK",
    "DENY", "DENY_TASK", "HELD_COMMAND", "PLAN", "LOCAL_URL", "LOGIN_LINK", "CHROMIUM"]) {
    assert.ok(env[name], `${name} is not set: run tests/browser/browser.sh`);
  }
  await mkdir(pictures, { recursive: true });
  const sandbox = process.getuid() === 0 ? ["--no-sandbox"] : [];
  browser = await chromium.launch({
    executablePath: env.CHROMIUM,
    args: [...sandbox, "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  for (const [name, url] of [["ann", env.ANN], ["ben", env.BEN], ["eve", env.EVE], ["local", env.LOCAL_URL]]) {
    people[name] = await browser.newContext({ baseURL: url, viewport: desk });
    people[name].setDefaultTimeout(deadline);
    // Whatever the content policy blocks, and whatever throws.
    people[name].on("weberror", (error) => complaints.push(`${name}: ${error.error()}`));
    people[name].on("console", (line) => {
      if (/Content Security Policy|Refused to/.test(line.text())) complaints.push(`${name}: ${line.text()}`);
    });
    await people[name].addInitScript(() =>
      document.addEventListener("securitypolicyviolation", (e) => console.error(`Content Security Policy: ${e.violatedDirective} ${e.blockedURI}`)));
  }
});

after(() => browser?.close());

async function open(who, address, viewport = desk) {
  const page = await people[who].newPage();
  await page.setViewportSize(viewport);
  await page.goto(address);
  return page;
}

// A picture in light and one in the dark.
async function shot(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: path.join(pictures, `${name}-${colorScheme}.png`), fullPage: true });
  }
  await page.emulateMedia({ colorScheme: null });
}

async function noSideways(page) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wide <= 0, `the page is ${wide} px too wide`);
}

const screen = (page) =>
  page.locator(".xterm-rows > div").evaluateAll((rows) => rows.map((row) => row.textContent.replaceAll("\u00a0", " ").trimEnd()).join("\n").trimEnd());

const shows = (page, text) =>
  page.waitForFunction((wanted) => document.querySelector(".xterm-rows")?.textContent.replaceAll("\u00a0", " ").includes(wanted), text);

const go = () => writeFile(path.join(env.LIVE_DIR, "go"), "");

test("without a login one is sent to log in; a link logs in once", async () => {
  const page = await open("local", "/approvals");
  assert.equal(new URL(page.url()).pathname, "/login");
  await shot(page, "login-needed");
  await page.goto(env.LOGIN_LINK);
  await shot(page, "login");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL("**/tasks");
  await shot(page, "tasks-none");
  const cookies = await people.local.cookies();
  const login = cookies.find((c) => c.name === "coda_login");
  assert.ok(login.httpOnly && login.sameSite === "Strict");
  await page.goto(env.LOGIN_LINK);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("used already").waitFor();
  await shot(page, "login-used");
  await page.goto("/tasks");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.waitForURL("**/login");
  await page.goto("/tasks");
  assert.equal(new URL(page.url()).pathname, "/login", "logged out");
  await page.close();
});

test("the inbox shows the tasks and leads to them", async () => {
  const page = await open("ann", "/tasks");
  await shot(page, "tasks");
  await page.setViewportSize(phone);
  await noSideways(page);
  await shot(page, "tasks-phone");
  await page.locator(`a[href="/tasks/${env.ENDED_TASK}"]`).click();
  await page.waitForURL(`**/tasks/${env.ENDED_TASK}`);
  await page.close();
});

test("the live terminal: a snapshot, then deltas; who comes late sees the same; nothing is sent but acknowledgements", async () => {
  const page = await people.ann.newPage();
  const sent = [];
  const kinds = [];
  let loads = 0;
  page.on("load", () => loads++);
  page.on("websocket", (socket) => {
    socket.on("framesent", ({ payload }) => sent.push(String(payload)));
    socket.on("framereceived", ({ payload }) => { if (typeof payload !== "string") kinds.push(payload[0]); });
  });
  await page.goto(`/tasks/${env.LIVE_TASK}`);
  await shows(page, "part one of three");
  assert.ok(!(await screen(page)).includes("part two of three"));
  assert.equal(kinds[0], 1, "a snapshot comes first");

  await go();
  await shows(page, "part two of three");
  assert.equal(loads, 1, "nothing was loaded again");
  assert.ok(kinds.slice(1).length > 0 && kinds.slice(1).every((kind) => kind === 2), `then deltas: ${kinds}`);

  await page.locator(".xterm").click();
  await page.keyboard.type("rm -rf /\n");
  await page.keyboard.press("Control+C");
  await page.evaluate(() => document.querySelector(".xterm textarea")?.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, clipboardData: new DataTransfer() })));
  await shot(page, "task-live");

  const late = await open("ann", `/tasks/${env.LIVE_TASK}`);
  await shows(late, "part two of three");
  assert.equal(await screen(late), await screen(page));
  const colours = (of) => of.locator(".xterm-rows span[class*=xterm-fg]").evaluateAll((all) => all.map((s) => `${s.className} ${s.textContent}`));
  assert.ok((await colours(late)).length > 0, "the snapshot has colours");
  assert.deepEqual(await colours(late), await colours(page));
  await late.setViewportSize(phone);
  await late.waitForTimeout(300);
  await noSideways(late);
  await shot(late, "task-live-phone");
  await late.close();

  assert.match(await page.title(), /coda$/, "a terminal does not name the page");
  assert.ok(sent.length > 0 && sent.every((text) => /^\d+$/.test(text)), `sent: ${sent}`);

  await go();
  await page.getByRole("button", { name: "Play" }).waitFor();
  await shows(page, "part three of three");
  assert.equal(new URL(page.url()).pathname, `/tasks/${env.LIVE_TASK}`, "the same address replays after the end");
  await page.locator(".badge.completed").waitFor();
  await page.close();
});

test("a task that ended is replayed", async () => {
  const page = await open("ann", `/tasks/${env.ENDED_TASK}`);
  await shows(page, env.ENDED_TEXT);
  const whole = await screen(page);
  await shot(page, "task-ended");
  await page.getByRole("slider").fill("0");
  await page.waitForFunction((text) => !document.querySelector(".xterm-rows").textContent.includes(text), env.ENDED_TEXT);
  await page.getByRole("button", { name: "Speed" }).click({ clickCount: 3 });
  await page.getByRole("button", { name: "Play" }).click();
  await shows(page, env.ENDED_TEXT);
  await page.getByRole("button", { name: "Play" }).waitFor();
  assert.equal(await screen(page), whole, "played to the end it is the same screen");
  await page.setViewportSize(phone);
  await page.waitForTimeout(300);
  await noSideways(page);
  await shot(page, "task-ended-phone");
  const cast = await people.ann.request.get(`/tasks/${env.ENDED_TASK}/transcript`);
  assert.equal(JSON.parse((await cast.text()).split("\n")[0]).version, 2);
  await page.close();
});

test("somebody else's task cannot be seen, watched, replayed or decided about", async () => {
  for (const task of [env.LIVE_TASK, env.ENDED_TASK, env.APPROVE_TASK]) {
    for (const address of [`/tasks/${task}`, `/tasks/${task}/transcript`, `/v1/tasks/${task}`]) {
      assert.equal((await people.eve.request.get(address)).status(), 404, address);
    }
  }
  const page = await open("eve", "/tasks");
  assert.equal(await page.locator(".cards a").count(), 0);
  const outcome = await page.evaluate((path) => new Promise((resolve) => {
    const socket = new WebSocket(`ws://${location.host}${path}`);
    socket.onopen = () => resolve("opened");
    socket.onerror = () => resolve("refused");
  }), `/tasks/${env.APPROVE_TASK}/stream`);
  assert.equal(outcome, "refused");
  await page.goto(`/approvals/${env.PLAN}`);
  await page.getByRole("heading", { name: "Not found" }).waitFor();
  await shot(page, "not-found");
  await page.close();
});

test("the page of a held task says so and leads to the request; its submitter may not decide it", async () => {
  const page = await open("ann", `/tasks/${env.APPROVE_TASK}`);
  await page.locator(".badge.needs_approval").waitFor();
  await shows(page, "reports");
  await shot(page, "task-held");
  await page.getByRole("link", { name: "Open the request" }).click();
  await page.waitForURL(`**/approvals/${env.APPROVE}`);
  await page.getByText("rm -rf 2019").first().waitFor();
  assert.equal(await page.getByRole("button", { name: "Approve once" }).count(), 0);
  await shot(page, "approval-requester");
  const forced = await people.ann.request.post(`/approvals/${env.APPROVE}/decision`, { form: { decision: "approve", reason: "" }, headers: { origin: new URL(env.ANN).origin } });
  assert.equal(forced.status(), 403);
  await page.close();
});

async function showsExactly(page) {
  const item = page.locator("article.item").first();
  assert.equal(await item.locator("pre.exact").innerText(), env.HELD_COMMAND);
  assert.equal(await item.locator("pre.exact mark").first().innerText(), env.HELD_COMMAND);
  assert.match(await item.innerText(), /in \S*\/reports\n/, "the working directory");
  const text = await page.locator("main").innerText();
  assert.match(text, /shell\.rm/);
  assert.match(text, /1 × approver/);
  assert.match(text, /The requester does not count/);
  assert.match(await page.locator("h1").innerText(), /^2019 would be deleted for good\.$/);
  assert.match(text, /UTC \(in 23 h 5\d min\)/, "the clock");
  assert.match(text, /ann@example\.com/);
}

test("a request is approved once, and the task goes on", async () => {
  const page = await open("ben", "/approvals");
  await shot(page, "approvals");
  await page.locator(`a[href="/approvals/${env.APPROVE}"]`).click();
  await page.getByRole("button", { name: "Approve once" }).waitFor();
  await showsExactly(page);
  await shot(page, "approval");
  const own = await open("ann", `/tasks/${env.APPROVE_TASK}`);
  await page.getByRole("button", { name: "Approve once" }).click();
  await page.locator(".badge").first().filter({ hasText: /approved|consumed|used/ }).waitFor();
  // The submitter's page follows by itself.
  await own.locator(".badge.completed").waitFor();
  await shows(own, "after the removal");
  await page.reload();
  await shot(page, "approval-approved");
  assert.equal(await page.getByRole("button", { name: "Approve once" }).count(), 0);
  await own.close();
  await page.close();
});

test("a request is denied on a phone, with a reason that the task then tells", async () => {
  const page = await open("ben", "/approvals", phone);
  await noSideways(page);
  await shot(page, "approvals-phone");
  await page.locator(`a[href="/approvals/${env.DENY}"]`).click();
  await page.getByRole("button", { name: "Deny" }).waitFor();
  await showsExactly(page);
  await noSideways(page);
  await shot(page, "approval-phone");
  await page.getByRole("button", { name: "Deny" }).click();
  await page.getByText("A refusal needs a reason").waitFor();
  assert.ok(await page.getByLabel("Reason").evaluate((field) => document.activeElement === field), "the page opens at the form");
  await shot(page, "approval-phone-no-reason");
  await page.getByLabel("Reason").fill("not on a Friday");
  await page.getByRole("button", { name: "Deny" }).click();
  await page.locator(".badge").first().filter({ hasText: /denied/ }).waitFor();
  await noSideways(page);
  await shot(page, "approval-phone-denied");
  const own = await open("ann", `/tasks/${env.DENY_TASK}`);
  await own.locator(".badge.failed").waitFor();
  await own.getByText("not on a Friday").first().waitFor();
  await shot(own, "task-denied");
  await page.goto("/approvals");
  await shot(page, "approvals-settled-phone");
  await own.close();
  await page.close();
});

test("a plan shows every command that would pass", async () => {
  const page = await open("ben", `/approvals/${env.PLAN}`);
  assert.ok((await page.locator("article.item").count()) > 1);
  await shot(page, "approval-plan");
  await page.setViewportSize(phone);
  await noSideways(page);
  await shot(page, "approval-plan-phone");
  await page.close();
});

test("another site can neither post a decision nor watch nor frame a page", async () => {
  const answer = await people.ben.request.post(`/approvals/${env.PLAN}/decision`, { form: { decision: "approve" }, headers: { origin: "https://evil.example" }, maxRedirects: 0 });
  assert.equal(answer.status(), 403);
  const page = await open("ben", `/approvals/${env.PLAN}`);
  await page.getByRole("button", { name: "Approve once" }).waitFor();
  const headers = (await people.ben.request.get("/approvals")).headers();
  assert.match(headers["content-security-policy"], /frame-ancestors 'none'/);
  assert.match(headers["content-security-policy"], /script-src 'self';/);
  await page.close();
});

test("a plan is approved in part: what is left out is refused, with a reason", async () => {
  const page = await open("ben", `/approvals/${env.PLAN}`, phone);
  const boxes = page.getByRole("checkbox", { name: "may pass" });
  const items = await page.locator("article.item").count();
  assert.equal(await boxes.count(), items, "a box for each command");
  await boxes.last().uncheck();
  await page.getByRole("button", { name: "Approve once" }).click();
  await page.getByText("needs a reason").first().waitFor();
  assert.deepEqual(await boxes.evaluateAll((all) => all.map((box) => box.checked)).then((all) => all.indexOf(false)), items - 1, "what was chosen stays so");
  await page.getByLabel("Reason").fill("keep the last one");
  await noSideways(page);
  await shot(page, "approval-plan-part-phone");
  await page.getByRole("button", { name: "Approve once" }).click();
  await page.locator("article.item").last().locator(".badge.denied").waitFor();
  assert.equal(await page.locator("article.item .badge.denied").count(), 1);
  await page.getByText(`but not ${items}`).waitFor();
  await shot(page, "approval-plan-parted-phone");
  await page.close();
});

test("nothing was blocked and nothing threw", async () => {
  assert.deepEqual(complaints, []);
  // That this would have been seen.
  const page = await open("ben", "/approvals");
  await page.evaluate(() => {
    const inline = document.createElement("script");
    inline.textContent = "window.ran = true";
    document.body.append(inline);
  });
  assert.equal(await page.evaluate(() => window.ran), undefined, "a script within a page does not run");
  assert.ok(complaints.length > 0);
  await page.close();
});
