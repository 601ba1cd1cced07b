"use strict";

// Keeps the page up to date: on every event it fetches itself and replaces the marked parts that differ. What a person
// has opened, typed, scrolled or focused stays.
const live = () => [...document.querySelectorAll("[data-live]")];
let busy = false;
let again = false;

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (answer.ok) update(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch (error) {
    // The event stream tells when the server is back.
  } finally {
    busy = false;
    if (again) { again = false; refresh(); }
  }
}

function update(fresh) {
  for (const part of live()) {
    const next = fresh.getElementById(part.id);
    if (!next || next.innerHTML === part.dataset.last) continue;
    if (!part.dataset.last && next.innerHTML === part.innerHTML) { part.dataset.last = next.innerHTML; continue; }
    if (part.contains(document.activeElement) && document.activeElement !== document.body && part.id !== "list" ) {
      if (document.activeElement.matches("input, select, textarea")) continue;
    }
    const source = next.innerHTML;
    keepState(part, next);
    keepFrames(part, next);
    if (!next.isEqualNode(part)) replace(part, next);
    part.dataset.last = source;
  }
}

// A report that is on display is not loaded again, and a scene in it not turned back.
function keepFrames(part, next) {
  const held = part.querySelector("iframe");
  const wanted = next.querySelector("iframe");
  if (held && wanted && held.getAttribute("src") === wanted.getAttribute("src")) next.dataset.keep = "frame";
}

function keepState(part, next) {
  for (const details of part.querySelectorAll("details[id]")) {
    const same = next.querySelector(`#${CSS.escape(details.id)}`);
    if (same) same.open = details.open;
  }
}

function replace(part, next) {
  if (next.dataset.keep === "frame") return;
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && [...part.querySelectorAll(focused.tagName)].indexOf(focused);
  const scrolled = [...part.querySelectorAll(".log")].map((log) => [log.scrollTop, log.scrollHeight - log.scrollTop - log.clientHeight < 30]);
  part.replaceChildren(...next.childNodes);
  [...part.querySelectorAll(".log")].forEach((log, index) => {
    const [top, atEnd] = scrolled[index] || [0, true];
    log.scrollTop = atEnd ? log.scrollHeight : top;
  });
  if (focused) part.querySelectorAll(focused.tagName)[place]?.focus({ preventScroll: true });
}

function follow() {
  if (!live().length) return;
  const offline = document.getElementById("offline");
  const events = new EventSource("/events");
  let known = document.body.dataset.version;
  events.addEventListener("version", (event) => {
    offline.hidden = true;
    if (event.data !== known) { known = event.data; refresh(); }
  });
  events.addEventListener("error", () => { offline.hidden = false; });
  events.addEventListener("open", () => { offline.hidden = true; });
  addEventListener("pagehide", () => events.close());
}

// Asks before something is stopped; a second press within the dialog does it.
document.addEventListener("submit", (event) => {
  const words = event.submitter?.dataset.confirm;
  if (words && !confirm(words)) event.preventDefault();
});

// One press is one start.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  const button = event.submitter;
  if (button) setTimeout(() => { button.disabled = true; }, 0);
});
addEventListener("pageshow", () => { for (const each of document.querySelectorAll("button:disabled")) each.disabled = false; });

for (const log of document.querySelectorAll(".log")) log.scrollTop = log.scrollHeight;
follow();
