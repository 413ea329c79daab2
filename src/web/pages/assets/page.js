// Makes a page that is complete without it move: times count, and what changed is put in place.
"use strict";
(() => {
  const root = document.documentElement;
  const words = JSON.parse(root.dataset.words);

  // The daemon's clock: it may differ from the browser's, and in the demo it runs faster.
  let heard = { at: performance.now(), now: Date.parse(root.dataset.now) };
  const speed = Number(root.dataset.speed) || 1;
  const now = () => heard.now + (performance.now() - heard.at) * speed;

  // The two largest units of a length, as the server writes it.
  const length = (ms) => {
    let rest = Math.max(0, Math.round(ms / 1000));
    const parts = [];
    for (const [unit, seconds] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
      const count = Math.floor(rest / seconds);
      rest -= count * seconds;
      if (count > 0 || parts.length > 0) parts.push([count, unit]);
    }
    return parts.slice(0, 2).filter(([count]) => count > 0).map((part) => part[0] + words[part[1]]).join(" ")
      || "0" + words.s;
  };

  const put = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const tick = () => {
    for (const time of document.querySelectorAll("time[data-in]")) {
      const left = Date.parse(time.dateTime) - now();
      put(time, left <= 0 ? words.now : words.in.replace("{length}", length(left)));
    }
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const past = now() - Date.parse(time.dateTime);
      put(time, past < 1000 ? words.now : words.ago.replace("{length}", length(past)));
    }
  };

  // Moments are written in the server's zone; here they are put into the reader's.
  const forms = {
    full: { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
    clock: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
    short: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  };
  const localize = (part) => {
    for (const time of part.querySelectorAll("time[data-form]")) {
      const parts = {};
      for (const { type, value } of new Intl.DateTimeFormat("en-CA", forms[time.dataset.form]).formatToParts(new Date(time.dateTime))) {
        parts[type] = value;
      }
      const clock = [parts.hour, parts.minute, parts.second].filter(Boolean).join(":");
      time.textContent = parts.year ? `${parts.year}-${parts.month}-${parts.day} ${clock}` : clock;
    }
    for (const name of part.querySelectorAll("[data-zone]")) {
      name.textContent = new Intl.DateTimeFormat("en").resolvedOptions().timeZone || name.textContent;
    }
  };

  // What is live on a page is fetched as the page itself, so that there is one rendering of it.
  let asked = 0;
  let running = false;
  let waiting = 0;
  const refresh = async () => {
    waiting = 0;
    if (running || document.hidden) return;
    running = true;
    asked = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "1" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      heard = { at: performance.now(), now: Date.parse(fresh.documentElement.dataset.now) };
      localize(fresh);
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = fresh.getElementById(part.id);
        if (next) replace(part, next);
      }
      tick();
      told();
    } catch {
      pulse("off");
    } finally {
      running = false;
    }
  };

  const rowsOf = (part) => new Map(Array.from(part.querySelectorAll("[data-row]"), (row) => [row.dataset.row, row]));

  const replace = (part, next) => {
    // Nobody's typing, reading or place on the page is taken away.
    if (part.contains(document.activeElement) && document.activeElement.matches("input, select")) return;
    if (part.querySelector("details[open] form")) return;
    const bare = (element) => element.innerHTML.replace(/(<time[^>]*data-(?:in|ago)[^>]*>)[^<]*/g, "$1");
    if (bare(part) === bare(next)) return;
    const before = rowsOf(part);
    const opened = new Set(Array.from(part.querySelectorAll("details[open][id]"), (details) => details.id));
    const place = Array.from(part.querySelectorAll("a, button, summary")).indexOf(document.activeElement);
    part.replaceChildren(...next.childNodes);
    for (const id of opened) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    if (place >= 0) part.querySelectorAll("a, button, summary")[place]?.focus();
    for (const [id, row] of rowsOf(part)) {
      if (before.get(id)?.dataset.say === row.dataset.say) continue;
      row.classList.add("fresh");
      if (row.dataset.say) say(row.dataset.say);
    }
  };

  // New rows are read out, the last few of a burst.
  let lines = [];
  const say = (line) => lines.push(line);
  const told = () => {
    const spoken = document.getElementById("spoken");
    if (spoken && lines.length > 0) spoken.textContent = lines.slice(0, 3).join(". ");
    lines = [];
  };

  const soon = () => {
    if (waiting) return;
    const rest = Math.max(250, 2000 - (performance.now() - asked));
    waiting = setTimeout(refresh, rest);
  };

  const pulse = (is) => {
    const mark = document.getElementById("pulse");
    if (!mark) return;
    mark.hidden = false;
    mark.dataset.is = is;
    put(mark, is === "on" ? words.live : words.lost);
  };

  // What was done is said once, not again after a reload.
  const address = new URL(location.href);
  if (address.searchParams.has("done")) {
    address.searchParams.delete("done");
    history.replaceState(null, "", address);
  }

  tick();
  localize(document);
  setInterval(tick, speed > 1 ? 250 : 1000);
  if (!document.querySelector("[data-live]")) return;

  let source = null;
  const listen = () => {
    source = new EventSource(root.dataset.events);
    source.onopen = () => { pulse("on"); soon(); };
    source.onerror = () => {
      pulse("off");
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000);
    };
    for (const name of ["action", "server", "reload", "lost"]) source.addEventListener(name, soon);
  };
  listen();
  // A browser keeps pages that were left, and allows few connections to one address.
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) { listen(); soon(); } });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
})();
