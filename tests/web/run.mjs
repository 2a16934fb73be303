// run.mjs: the page in a real browser. Run by run.sh, which starts a news server and AltMount.
//
//   BASE       the server's address          NZB      an NZB whose release holds film.webm
//   SHOTS      folder for screenshots        CONFIG   the server's config.yaml
//   NNTP_PORT, NNTP_USER, NNTP_PASSWORD      the news server
//
// A line of `ok` or `FAIL` for each check, and at the end 'N passed, N failed'.
import { chromium } from "playwright-core";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { connect, createServer as createListener } from "node:net";

const { BASE, NZB, SHOTS, CONFIG, NNTP_PORT, NNTP_USER, NNTP_PASSWORD } = process.env;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let passed = 0, failed = 0;
// Not everything in the browser has a time limit of its own (a script that is evaluated, the end of an answer).
const LONGEST_CHECK = 120_000;
const check = async (name, work) => {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${LONGEST_CHECK / 1000} s`)), LONGEST_CHECK);
  });
  try {
    await Promise.race([work(), limit]);
    passed++;
    console.log(`ok   ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${String(error.message ?? error).split("\n").slice(0, 6).join(" ")}`);
  } finally {
    clearTimeout(timer);
  }
};
const must = (truth, text) => { if (!truth) throw new Error(text); };

// What AltMount asks of a Sonarr, with the names of its API v3. Like the real one, it takes a client only if that answers with
// the category that it is to send.
const sonarr = { key: "0123456789abcdef", clients: [], hooks: [], faults: [] };
const field = (thing, name) => thing.fields.find((one) => one.name === name)?.value;
const application = createServer(async (request, answer) => {
  const say = (status, body) => answer.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  if (request.headers["x-api-key"] !== sonarr.key) return say(401, { error: "Unauthorized" });
  let text = "";
  for await (const piece of request) text += piece;
  const [, , , route] = request.url.split("?")[0].split("/");
  if (route === "system") return say(200, { appName: "Sonarr", version: "4.0.15.2941" });
  const list = { downloadclient: sonarr.clients, notification: sonarr.hooks }[route];
  if (!list) return say(200, route === "queue" || route === "history" ? { records: [], totalRecords: 0 } : []);
  if (request.method === "GET") return say(200, list);
  const sent = JSON.parse(text);
  if (route === "downloadclient") {
    const at = `http://${field(sent, "host")}:${field(sent, "port")}${field(sent, "urlBase")}/api?output=json&apikey=${field(sent, "apiKey")}`;
    const categories = await (await fetch(`${at}&mode=get_cats`)).json();
    if (!categories.categories?.includes(field(sent, "tvCategory"))) {
      sonarr.faults.push(categories);
      return say(400, [{ propertyName: "TvCategory", errorMessage: "Category does not exist" }]);
    }
  }
  list.push({ ...sent, id: list.length + 1 });
  return say(201, list.at(-1));
});
await new Promise((resolve) => application.listen(0, "127.0.0.1", resolve));
// The news server, with a hand on the wire: what it answers is held while somebody looks at what an import does.
const wire = { held: false, waiting: [] };
const gate = createListener((near) => {
  const far = connect(NNTP_PORT, "127.0.0.1");
  near.pipe(far);
  const pass = (data) => { if (!near.destroyed && !near.write(data)) far.pause(); };
  far.on("data", (data) => { if (wire.held) wire.waiting.push(() => pass(data)); else pass(data); });
  near.on("drain", () => far.resume());
  for (const end of [near, far]) end.on("error", () => {}).on("close", () => { near.destroy(); far.destroy(); });
});
await new Promise((resolve) => gate.listen(0, "127.0.0.1", resolve));
const hold = (held) => {
  wire.held = held;
  if (!held) for (const go of wire.waiting.splice(0)) go();
};
const SONARR = `http://127.0.0.1:${application.address().port}`;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
const page = await context.newPage();
page.setDefaultTimeout(20_000);
// A refused script, style or connection of the page is a fault of ours.
const complaints = [];
page.on("console", (message) => {
  const text = message.text();
  if (message.type() === "error" && !/status of (400|401|403|404|409|429)/.test(text)) complaints.push(text);
});
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("dialog", (dialog) => dialog.accept());
const shot = (name) => page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
const go = (path) => page.goto(BASE + path);

await check("first run: the first user is made", async () => {
  await go("/");
  must(page.url().endsWith("/setup"), page.url());
  await shot("setup");
  await page.fill("[name=name]", "ann");
  await page.fill("[name=password]", "correct horse");
  await page.fill("[name=again]", "correct horse");
  await page.click("button");
  await page.waitForSelector("h1:has-text('First steps')");
});
await check("first run: a news server is tried and saved", async () => {
  await page.fill("[name=host]", "127.0.0.1");
  await page.fill("[name=port]", String(gate.address().port));
  await page.fill("[name=username]", NNTP_USER);
  await page.fill("[name=password]", "wrong");
  await page.uncheck("[name=tls]");
  await page.click("button:has-text('save it')");
  await page.waitForSelector(".notice.bad");
  await shot("start-refused");
  await page.fill("[name=password]", NNTP_PASSWORD);
  await page.click("button:has-text('save it')");
  await page.waitForSelector(".notice.good");
  await page.waitForSelector("text=Articles are read from 127.0.0.1");
  await shot("start");
});
await check("first run: the way out is chosen, and what it needs is said", async () => {
  must((await page.textContent("#step-output ~ details")).includes("Needs no FUSE"), "it is not said what is needed");
  await page.check("[name=way][value=strm]");
  await page.fill("[name=strm]", "strm");
  await page.click("button:has-text('Use this way')");
  await page.waitForSelector(".notice.bad:has-text('must be a full path')");
  must(await page.isChecked("[name=way][value=strm]"), "the choice is forgotten");
  await page.fill("[name=strm]", `${process.env.OUT}/strm`);
  must((await page.inputValue("[name=strm_url]")) === BASE, await page.inputValue("[name=strm_url]"));
  await page.click("button:has-text('Use this way')");
  await page.waitForSelector(".notice.good:has-text('Saved, and in use')");
  await page.waitForSelector("text=Chosen: text files with addresses");
  must(readFileSync(CONFIG, "utf8").includes(`${process.env.OUT}/strm`), "it is not in the file");
  await shot("start-output");
});
await check("first run: Sonarr is tested, added, and told of this server", async () => {
  await page.fill("[name=arr_url]", SONARR);
  await page.fill("[name=arr_key]", "wrong");
  await page.click("button:has-text('Only test it')");
  await page.waitForSelector(".notice.bad:has-text('refuses the API key')");
  await page.fill("[name=arr_key]", sonarr.key);
  await page.click("button:has-text('register there')");
  await page.waitForSelector(".notice.good:has-text('has this server as its download client')");
  must(sonarr.clients.length === 1 && sonarr.hooks.length === 1, JSON.stringify(sonarr));
  must((await page.request.get(`${BASE}/sabnzbd/api?mode=version&output=json&apikey=${field(sonarr.clients[0], "apiKey")}`)).ok(), "its key");
  await shot("start-arr");
  await go("/settings/arr");
  await page.click("[aria-label='Test sonarr']");
  await page.waitForSelector(".notice.good:has-text('4.0.15')");
  must(!(await page.content()).includes(sonarr.key), "the key is in the page");
  await shot("settings-arr");
  await go("/start");
});
await check("first run: the API key is shown on demand", async () => {
  await page.click("summary:has-text('Show it')");
  const key = await page.textContent(".secret");
  const answer = await page.request.get(`${BASE}/api/queue`, { headers: { "X-Api-Key": key } });
  must(answer.status() === 200, `status ${answer.status()}`);
});
await check("upload: a job appears, runs and is imported without the page being loaded again", async () => {
  await go("/queue?view=all");
  await page.evaluate(() => { window.stays = true; });
  // What the script does with a file that is dropped on the page.
  const bytes = readFileSync(NZB).toString("base64");
  const transfer = await page.evaluateHandle((text) => {
    const data = new DataTransfer();
    const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    data.items.add(new File([raw], "Film.2026.nzb"));
    return data;
  }, bytes);
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
  await page.waitForURL(/view=active/);
  await go("/queue?view=all");
  await page.evaluate(() => { window.stays = true; });
  await page.waitForSelector(".state.completed", { timeout: 60_000 });
  must(await page.evaluate(() => window.stays), "it was loaded again");
  await shot("queue-done");
});
await check("a job's progress and states come live", async () => {
  await go("/queue?view=all");
  await page.evaluate(() => { window.stays = true; });
  const other = await context.newPage();
  await other.goto(`${BASE}/queue`);
  hold(true);
  setTimeout(() => hold(false), 5_000);
  await other.setInputFiles("[type=file]", { name: "Again.nzb", mimeType: "application/x-nzb", buffer: readFileSync(NZB) });
  await other.click("button:has-text('Add to the queue')");
  // A page that is closed while its form is being sent was seen to stay, and whoever waits for that waits for ever.
  await other.waitForSelector(".title:has-text('Again.nzb')");
  await other.close();
  await page.waitForSelector(".title:has-text('Again.nzb')");
  await page.waitForSelector("li:has-text('Again.nzb') .state.running");
  await page.waitForSelector("li:has-text('Again.nzb') [data-progress]:text-matches('reading|asking for')");
  await shot("queue-running");
  hold(false);
  await page.waitForSelector("li:has-text('Again.nzb') .state.completed", { timeout: 60_000 });
  must(await page.evaluate(() => window.stays), "it was loaded again");
});
await check("what was not changed is not fetched again", async () => {
  const other = await context.newPage();
  const asked = [];
  other.on("request", (request) => {
    if (request.resourceType() === "fetch" && new URL(request.url()).pathname.endsWith("/queue")) asked.push(request.url());
  });
  // Says when the server has said how many changes there were, and the page has heard it.
  await other.addInitScript(() => {
    const Plain = window.EventSource;
    window.heard = 0;
    window.EventSource = class extends Plain {
      constructor(...all) {
        super(...all);
        this.addEventListener("hello", () => setTimeout(() => { window.heard++; }));
      }
    };
  });
  // What was imported a moment ago may still become known elsewhere, which is a change; that comes to an end.
  for (let tries = 0; tries < 5; tries++) {
    asked.length = 0;
    await other.goto(`${BASE}/queue?view=all`);
    await other.waitForFunction(() => window.heard === 1);
    if (asked.length === 0) break;
  }
  must(asked.length === 0, `${asked.length} fetches of what nobody changed`);
  // A page that was made before the last change, as one that comes out of the browser's memory.
  await other.route(/\/queue\?view=all$/, async (route) => {
    if (route.request().resourceType() !== "document") return route.continue();
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: (await answer.text()).replace(/data-changes="\d+"/, 'data-changes="1"') });
  });
  const fetched = other.waitForResponse((response) => response.request().resourceType() === "fetch" && response.url().includes("/queue"));
  await other.goto(`${BASE}/queue?view=all`);
  await fetched;
  await other.waitForFunction(() => window.heard === 1);
  must(asked.length === 1, `${asked.length} fetches`);
  await other.close();
});
await check("addresses that are pasted are queued", async () => {
  await go("/queue");
  await page.evaluate((text) => {
    const data = new DataTransfer();
    data.setData("text/plain", text);
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
  }, `${SONARR}/Pasted.nzb`);
  await page.waitForURL(/done=added/);
  await go("/queue?view=all");
  // Its address answers that it wants a key, and that is what the job says.
  await page.waitForSelector("li:has-text('Pasted.nzb')");
  const job = await (await page.request.get(`${BASE}/api/queue`, { headers: { "X-Api-Key": process.env.API_KEY } })).json();
  must(job.data.some((one) => one.file_name === "Pasted.nzb"), JSON.stringify(job));
});
await check("a failed job says why, and what to do", async () => {
  await go("/queue");
  await page.setInputFiles("[type=file]", { name: "broken.nzb", mimeType: "application/x-nzb", buffer: Buffer.from("<nzb><file></nzb>") });
  await page.click("button:has-text('Add to the queue')");
  await go("/queue?view=failed");
  await page.waitForSelector("li:has-text('broken.nzb') .reason");
  const reason = await page.textContent(".reason");
  must(/nothing usable:|invalid:/.test(reason) && /damaged/.test(reason), reason);
  await page.click("summary:has-text('Why this importer')");
  await shot("queue-failed");
});
await check("the library: search, a file, and it plays", async () => {
  await go("/library");
  await shot("library");
  await page.fill("#search", "film.webm");
  await page.press("#search", "Enter");
  await page.click("a:has-text('film.webm') >> nth=0");
  await page.waitForSelector("video");
  const time = await page.evaluate(async () => {
    const video = document.querySelector("video");
    video.muted = true;
    await video.play();
    await new Promise((resolve, reject) => {
      video.ontimeupdate = () => { if (video.currentTime > 0.5) resolve(); };
      video.onerror = () => reject(new Error(video.error.message));
    });
    video.pause();
    video.currentTime = video.duration - 1;
    await new Promise((resolve) => { video.onseeked = resolve; });
    return [video.currentTime, video.duration, video.videoWidth];
  });
  must(time[0] > time[1] - 1.5 && time[2] === 320, String(time));
  await shot("file");
});
await check("a file of the library is what was posted", async () => {
  const link = await page.getAttribute("a:has-text('Download')", "href");
  const answer = await page.request.get(new URL(link, BASE).href);
  const body = await answer.body();
  must(body.equals(readFileSync(process.env.FILM)), `${body.length} bytes`);
  must(answer.headers()["content-disposition"].startsWith("attachment"), "no attachment");
  const part = await page.request.get(new URL(link, BASE).href, { headers: { range: "bytes=100-199" } });
  must(part.status() === 206 && (await part.body()).length === 100, `range: ${part.status()}`);
});
await check("deleting is undone", async () => {
  await page.click("main button:has-text('Delete')");
  await page.waitForSelector("text=It is in the trash");
  await shot("library-undo");
  await page.click("button:has-text('Undo')");
  await page.waitForSelector("text=It is back");
  await page.waitForSelector("a:has-text('film.webm')");
});
await check("settings: a key is changed, used at once, and the file keeps its comments", async () => {
  await go("/settings/config/log");
  await page.fill("[name='log.level']", "info,altmount_engine=debug");
  await page.click("button:has-text('Save')");
  await page.waitForSelector("text=Saved, and in use");
  await shot("settings-log");
  const text = readFileSync(CONFIG, "utf8");
  must(text.includes('level: "info,altmount_engine=debug"') && text.includes("# What is logged"), "the file is not as it should be");
  await page.fill("[name='log.level']", "no=such=level");
  await page.click("button:has-text('Save')");
  await page.waitForSelector(".notice.bad");
});
await check("settings: a list gets an item, and loses it", async () => {
  await go("/settings/config/categories");
  await page.fill("fieldset:has(legend:text-is('A new one')) [name$='.name']", "films");
  await page.click("button:has-text('Save')");
  await page.waitForSelector("text=Saved, and in use");
  await page.waitForSelector("legend:text-is('films')");
  await shot("settings-categories");
  must(/name: films/.test(readFileSync(CONFIG, "utf8")), "it is not in the file");
  await page.check("fieldset:has(legend:text-is('films')) [name$='.remove']");
  await page.click("button:has-text('Save')");
  await page.waitForSelector("text=Saved, and in use");
  must(!/name: films/.test(readFileSync(CONFIG, "utf8")), "it is still in the file");
});
await check("settings: a map has a row for each name, and says at the row what is wrong", async () => {
  await go("/settings/config/plugins");
  const names = page.locator(".map [name^='plugins.priority.'][name$='.name']");
  const values = page.locator(".map [name^='plugins.priority.'][name$='.value']");
  must((await names.count()) === 1, `${await names.count()} rows`);
  // With the keyboard alone: a name, its value, one more row, whose name has the cursor then.
  await names.last().focus();
  await page.keyboard.type("nzb");
  await page.keyboard.press("Tab");
  await page.keyboard.type("3");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector("[name='plugins.priority.1.name']");
  must(await page.evaluate(() => document.activeElement.name === "plugins.priority.1.name"), "the cursor is elsewhere");
  must((await names.first().inputValue()) === "nzb", "what was written is gone");
  await page.keyboard.type("links");
  await page.keyboard.press("Tab");
  await page.keyboard.type("3000000000");
  // Enter in a field saves, whatever other buttons there are.
  await page.keyboard.press("Enter");
  await page.waitForSelector(".notice.bad");
  const wrong = page.locator("[name='plugins.priority.1.value']");
  must((await wrong.getAttribute("aria-invalid")) === "true", "the field is not marked");
  const about = await page.textContent(`[id='${await wrong.getAttribute("aria-describedby")}']`);
  must(about.includes("must be from"), about);
  await shot("settings-map-refused");
  await wrong.fill("-4");
  await wrong.press("Enter");
  await page.waitForSelector("text=Saved, and in use");
  must(/links: -4/.test(readFileSync(CONFIG, "utf8")) && /nzb: 3/.test(readFileSync(CONFIG, "utf8")), "they are not in the file");
  await page.check("[aria-label='links'] [name$='.remove']");
  await page.click("button:has-text('Save')");
  await page.waitForSelector("text=Saved, and in use");
  must((await names.count()) === 2, `${await names.count()} rows`);
  must(!/links: -4/.test(readFileSync(CONFIG, "utf8")) && readFileSync(CONFIG, "utf8").includes("# Who goes first"), "the file is not as it should be");
  must((await values.first().inputValue()) === "3", await values.first().inputValue());
  await shot("settings-map");
});
await check("settings: what needs a restart says so", async () => {
  await go("/settings/config/server");
  await page.fill("[name='server.max_connections']", "500");
  await page.click("button:has-text('Save')");
  await page.waitForSelector("text=after a restart");
  await go("/settings/config/providers");
  must((await page.content()).includes("127.0.0.1"), "no provider");
  must(!(await page.content()).includes(NNTP_PASSWORD), "the password is in the page");
  await page.click("button:has-text('Try it')");
  await page.waitForSelector(".notice.good");
  await shot("settings-providers");
});
await check("importers are shown with their states", async () => {
  await go("/settings/plugins");
  await page.waitForSelector("tr:has-text('.nzb') .state.loaded");
  await shot("settings-plugins");
});
await check("an importer's own configuration is a form, and is checked before it is saved", async () => {
  await go("/settings/plugins");
  await page.click("a:has-text('Usenet NZB')");
  await page.selectOption("[name='plugins.config.nzb.check']", "full");
  await page.fill("[name='plugins.config.nzb.max_depth']", "99");
  await page.click("button:has-text('Save')");
  await page.waitForSelector(".notice.bad:has-text('max_depth')");
  await page.selectOption("[name='plugins.config.nzb.check']", "full");
  await page.fill("[name='plugins.config.nzb.max_depth']", "4");
  await page.click("button:has-text('Save')");
  await page.waitForSelector(".notice.good");
  const text = readFileSync(CONFIG, "utf8");
  must(/check: "?full"?/.test(text) && /max_depth: 4/.test(text), text);
  await shot("settings-plugin");
});
await check("activity: who reads, how fast, and the plots with their tables", async () => {
  await go("/library?search=film.webm");
  const link = await page.getAttribute("a:has-text('film.webm')", "href");
  const id = link.split("/").pop();
  // A reader that takes its time.
  const stop = new AbortController();
  const reading = await fetch(`${BASE}/api/stream/${id}?apikey=${process.env.API_KEY}`, { signal: stop.signal });
  const reader = reading.body.getReader();
  await reader.read();
  await go("/activity");
  await page.waitForSelector("#streams-now td:has-text('film.webm')");
  for (const head of ["Who", "Rate", "Buffer"]) await page.waitForSelector(`#streams-now th:has-text('${head}')`);
  stop.abort();
  await page.waitForSelector("#streams-now .empty", { timeout: 15_000 });
  // Two looks of the server at its news servers lie ten seconds apart.
  await page.waitForSelector("figure:has-text('Throughput') svg", { timeout: 30_000 });
  await page.click("figure:has-text('Throughput') summary");
  await page.waitForSelector("figure:has-text('Throughput') td");
  must((await page.locator("figure svg").count()) >= 6, "plots are missing");
  await page.click("a:has-text('Last month')");
  await page.waitForSelector("figure:has-text('Imports') .bar");
  await shot("activity");
});
await check("a key opens what it is for, and nothing once it is revoked", async () => {
  await go("/settings/keys");
  await page.fill("[name=name]", "a script");
  await page.selectOption("[name=scope]", "read");
  await page.click("button:has-text('Make it')");
  const key = await page.textContent("#secret");
  await shot("settings-keys");
  const ask = async () => (await page.request.get(`${BASE}/api/library`, { headers: { "X-Api-Key": key } })).status();
  must((await ask()) === 200, "the key does not open");
  await page.click("button:has-text('Revoke')");
  await page.waitForSelector("text=opens nothing any more");
  must((await ask()) === 401, "the key still opens");
});
await check("the log is shown and filtered", async () => {
  await go("/settings/log?level=info&text=imported");
  await page.waitForSelector("#lines, .empty");
  await go("/settings/log");
  must((await page.textContent("#lines")).length > 100, "the log is empty");
  await shot("settings-log-lines");
});
await check("the support bundle has no secrets", async () => {
  const text = await (await page.request.get(`${BASE}/settings/support`)).text();
  const bundle = JSON.parse(text);
  must(bundle.providers.length === 1 && bundle.importers.length > 0, "it is not whole");
  for (const secret of [NNTP_PASSWORD, "correct horse", process.env.API_KEY, sonarr.key]) must(!text.includes(secret), "a secret is in it");
});
const pages = ["/", "/start", "/queue?view=all", "/queue?view=failed", "/library", "/activity", "/settings", "/settings/config/import",
  "/settings/config/providers", "/settings/config/arr", "/settings/config/outputs", "/settings/config/plugins", "/settings/arr", "/settings/plugins/nzb", "/activity?span=month", "/settings/keys", "/settings/plugins", "/settings/log", "/account"];
for (const scheme of ["light", "dark"]) {
  await check(`axe finds nothing serious, ${scheme}`, async () => {
    await page.emulateMedia({ colorScheme: scheme });
    const found = [];
    for (const path of pages) {
      await go(path);
      await page.evaluate(axe);
      const result = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      for (const rule of result.violations.filter((rule) => ["serious", "critical"].includes(rule.impact))) {
        found.push(`${path}: ${rule.id} at ${rule.nodes.slice(0, 3).map((node) => node.target).join(", ")}`);
      }
      await shot(`${scheme}${path.replace(/[^a-z]+/g, "-")}`);
    }
    must(found.length === 0, found.join("; "));
  });
}
await page.emulateMedia({ colorScheme: "light" });
await check("on a phone nothing is wider than the screen", async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  for (const path of pages) {
    await go(path);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    await shot(`phone${path.replace(/[^a-z]+/g, "-")}`);
    must(width <= 360, `${path}: ${width}`);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
});
await check("the keyboard reaches the content first, and every control is seen", async () => {
  await go("/library");
  await page.keyboard.press("Tab");
  must((await page.evaluate(() => document.activeElement.textContent)) === "To the content", "no skip link");
  await page.keyboard.press("Enter");
  must(await page.evaluate(() => document.activeElement.id === "main"), "the skip link leads nowhere");
});
await check("without JavaScript it works too", async () => {
  const plain = await browser.newContext({ javaScriptEnabled: false });
  const still = await plain.newPage();
  await still.goto(`${BASE}/library`);
  await still.fill("[name=name]", "ann");
  await still.fill("[name=password]", "correct horse");
  await still.click("button");
  must(still.url().endsWith("/library"), still.url());
  await still.goto(`${BASE}/queue`);
  await still.setInputFiles("[type=file]", { name: "Plain.nzb", mimeType: "application/x-nzb", buffer: Buffer.from("no nzb") });
  await still.click("button:has-text('Add to the queue')");
  await still.waitForSelector("text=Added to the queue");
  await plain.close();
});
await check("logging out ends the session", async () => {
  await go("/");
  const cookies = await context.cookies();
  await page.click("button:has-text('Log out')");
  await page.waitForSelector("h1:has-text('Log in')");
  await shot("login");
  await context.addCookies(cookies);
  await go("/library");
  must(page.url().includes("/login"), page.url());
});
await check("the browser had nothing to complain of", async () => must(complaints.length === 0, complaints.join("; ")));
await browser.close();
application.close();
gate.close();
writeFileSync(`${SHOTS}/result.txt`, `${passed} passed, ${failed} failed\n`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
