// What the page does beyond forms and links. Without it everything works; with it nothing has to be loaded again.
"use strict";
(() => {
  const { base } = document.body.dataset;
  // The number of changes that what is shown has seen.
  let { changes } = document.body.dataset;
  const say = (text) => { document.getElementById("live").textContent = text; };

  // A form that deletes something for good asks first.
  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.ask ?? event.target.dataset.ask;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  // Parts of the page are fetched again and put in place of the old ones, unless somebody is in the middle of one.
  const parts = (selector) => [...document.querySelectorAll(selector)].filter((part) => part.id);
  const busy = (part) => part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
  let fetching = false;
  // What was asked for meanwhile: it may be other parts.
  const waiting = new Set();
  const refresh = async (selector) => {
    if (fetching) { waiting.add(selector); return; }
    fetching = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
      if (!answer.ok || answer.redirected) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      let whole = true;
      for (const part of parts(selector)) {
        const now = fresh.getElementById(part.id);
        if (now && busy(part)) whole = false;
        if (!now || busy(part) || part.innerHTML === now.innerHTML) continue;
        // Whoever has the keyboard on a button of it keeps it there.
        const label = part.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
        const open = [...part.querySelectorAll("details[open][data-key]")].map((details) => details.dataset.key);
        part.replaceChildren(...now.childNodes);
        for (const key of open) part.querySelector(`details[data-key="${CSS.escape(key)}"]`)?.setAttribute("open", "");
        if (label) part.querySelector(`[aria-label="${CSS.escape(label)}"]`)?.focus();
      }
      for (const count of document.querySelectorAll("[data-count]")) {
        const now = fresh.querySelector(`[data-count="${count.dataset.count}"]`);
        if (now) count.textContent = now.textContent;
      }
      if (whole && selector.startsWith("[data-live")) changes = fresh.body.dataset.changes;
    } catch { /* the next event tries again */ } finally {
      fetching = false;
      if (waiting.size) { const next = [...waiting].join(", "); waiting.clear(); setTimeout(() => refresh(next), 250); }
    }
  };

  const live = document.querySelector("[data-live]");
  if (live) {
    const events = new EventSource(`${base}/live`);
    let due = null;
    const soon = (kind) => {
      clearTimeout(due);
      due = setTimeout(() => refresh(`[data-live="${kind}"]`), 200);
    };
    events.addEventListener("job", (event) => {
      const { id, state } = JSON.parse(event.data);
      if (document.querySelector('[data-live="job"]')) {
        if (state === "completed" || state === "failed") {
          const name = document.querySelector(`[data-job="${id}"] .title`)?.textContent;
          if (name) say(`${name}: ${state}`);
        }
        soon("job");
      }
    });
    events.addEventListener("library", () => { if (document.querySelector('[data-live="library"]')) soon("library"); });
    events.addEventListener("progress", (event) => {
      const { id, done, total, text } = JSON.parse(event.data);
      const bar = document.querySelector(`[data-job="${id}"] progress`);
      if (!bar) return;
      if (total > 0) {
        bar.max = total;
        bar.value = done;
      }
      const words = bar.parentElement.querySelector("[data-progress]");
      if (words) words.textContent = text;
    });
    // What changed after the page was made and before this, or during a break, was told to nobody here.
    events.addEventListener("hello", (event) => { if (JSON.parse(event.data).changes !== changes) refresh("[data-live]"); });
  }
  const every = [...new Set(parts("[data-every]").map((part) => Number(part.dataset.every)))];
  for (const seconds of every) {
    setInterval(() => { if (!document.hidden) refresh(`[data-every="${seconds}"]`); }, seconds * 1000);
  }

  // Files may be dropped anywhere on the queue's page, and pasted; addresses too.
  const upload = document.getElementById("upload");
  if (upload) {
    const drop = document.getElementById("drop");
    const input = upload.querySelector("input[type=file]");
    const addresses = upload.querySelector("textarea");
    const take = (data) => {
      const links = (data.getData("text/uri-list") || data.getData("text/plain") || "").split(/\s+/)
        .filter((text) => /^https?:\/\//i.test(text));
      if (data.files.length) input.files = data.files;
      else if (links.length) addresses.value = links.join("\n");
      else return false;
      upload.requestSubmit();
      return true;
    };
    const over = (is) => drop.classList.toggle("over", is);
    document.addEventListener("dragover", (event) => { event.preventDefault(); over(true); });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) over(false); });
    document.addEventListener("drop", (event) => { event.preventDefault(); over(false); take(event.dataTransfer); });
    document.addEventListener("paste", (event) => {
      if (event.target.matches("input, textarea")) return;
      if (take(event.clipboardData)) event.preventDefault();
    });
  }
})();
