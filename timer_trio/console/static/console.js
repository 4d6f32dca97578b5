// What a page does by itself: it follows what happens, tells how far away instants are, and how far a
// bulk action is. Without it all of the console works, with a reload.
"use strict";

// The service's clock, as far ahead of this one's as it was when the page was made.
const ahead = new Date(document.querySelector("meta[name=now]").content) - Date.now();

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });

function distance(instant) {
  const seconds = (new Date(instant) - Date.now() - ahead) / 1000;
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) || UNITS[3];
  return relative.format(Math.trunc(seconds / size) || 0, unit).replace("in 0 sec.", "now");
}

function tellDistances() {
  const today = new Date(Date.now() + ahead).toISOString().slice(0, 10);
  for (const time of document.querySelectorAll("time")) {
    const [date, clock] = [time.dateTime.slice(0, 10), time.dateTime.slice(11, 19)];
    time.textContent = date === today ? clock : `${date} ${clock}`;
    let told = time.nextElementSibling;
    if (!told || !told.classList.contains("rel")) {
      told = document.createElement("span");
      told.className = "rel";
      time.after(" ", told);
    }
    told.textContent = distance(time.dateTime);
  }
}

function follow(region, toggle) {
  const words = toggle.querySelector("[data-live-words]");
  let source = null;

  function tell(isLive, text) {
    toggle.setAttribute("aria-pressed", String(isLive));
    words.textContent = text;
  }

  function show(html) {
    // Nothing is taken away from under a hand: what is open or has the focus stays.
    const isInUse = region.contains(document.activeElement) || region.querySelector("details[open]");
    if (isInUse) {
      tell(true, "Live, when you leave what is open");
      return;
    }
    region.innerHTML = html; // from our own server, which escapes what is not its own
    tell(true, "Live");
    tellDistances();
  }

  function begin() {
    source = new EventSource(region.dataset.live);
    source.onmessage = (event) => show(event.data);
    source.onerror = () => {
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        tell(false, "Not live: load again");
      }
    };
    tell(true, "Live");
  }

  function end() {
    if (source) source.close();
    source = null;
    tell(false, "Stopped");
  }

  toggle.hidden = false;
  toggle.addEventListener("click", () => (source ? end() : begin()));
  document.addEventListener("visibilitychange", () => {
    const isWanted = toggle.getAttribute("aria-pressed") === "true";
    if (document.hidden && source) {
      source.close();
      source = null;
    } else if (!document.hidden && isWanted && !source) begin();
  });
  addEventListener("pagehide", () => source && source.close());
  begin();
}

async function run(form) {
  const box = form.querySelector(".progress");
  const [bar, words] = [box.querySelector("progress"), box.querySelector("p")];
  form.querySelector("button").disabled = true;
  box.hidden = false;
  words.textContent = "It begins …";
  try {
    // Not form.action, which is its field of that name.
    const answer = await fetch(form.getAttribute("action"), {
      method: "POST",
      headers: { Accept: "application/x-ndjson" },
      body: new URLSearchParams(new FormData(form)),
    });
    if (!(answer.headers.get("Content-Type") || "").startsWith("application/x-ndjson")) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const alert = page.querySelector("[role=alert]");
      throw new Error(alert ? alert.textContent.trim() : `it was answered ${answer.status}`);
    }
    await read(answer.body, (line) => tellProgress(line, bar, words));
  } catch (error) {
    words.textContent = `It has stopped: ${error.message}`;
  }
}

async function read(body, note) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    lines.filter(Boolean).forEach((line) => note(JSON.parse(line)));
  }
}

function tellProgress(line, bar, words) {
  const counts = "code" in line ? line.data : line;
  if ("done" in counts) bar.value = counts.done;
  if (!("code" in line)) {
    if ("done" in line) words.textContent = `${line.done.toLocaleString("en")} so far …`;
  } else if (line.code) {
    words.textContent = `It has stopped: ${line.message}`;
  } else {
    bar.value = bar.max;
    words.textContent = `Done: ${counts.done.toLocaleString("en")} timers, ${counts.skipped.toLocaleString("en")} skipped.`;
  }
}

const region = document.querySelector("[data-live]");
const toggle = document.querySelector("[data-live-toggle]");
if (region && toggle) follow(region, toggle);

for (const form of document.querySelectorAll("[data-progress]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(form);
  });
}
for (const form of document.querySelectorAll("[data-drop-empty]")) {
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
  });
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}
// What was asked is dropped when somebody turns away from it, as a menu is.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.ask[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.ask[open]")) {
    open.open = false;
    open.querySelector("summary").focus();
  }
});

tellDistances();
setInterval(tellDistances, 1000);
