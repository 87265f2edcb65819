// The live page: listens to /live and shows it.
// Its rule: it decides nothing. What is well and what is not, and every sentence, comes from the server; only that the
// server is silent can be known here alone. Text from the robot is text, never markup.
"use strict";

const SILENT_MS = 3000;
const by = (id) => document.getElementById(id);
const charts = new Charts(by("charts"));
const gates = new Gates(by("gates"), charts);
let offset = 0; // the server's clock minus ours, s
let heard = 0;
let reached = false;
let stream = null;

const token = (() => {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("token");
})();

function listen() {
  if (stream) stream.close();
  stream = new EventSource("/live");
  const on = (name, take) => stream.addEventListener(name, (message) => {
    heard = performance.now();
    reached = true;
    take(JSON.parse(message.data));
  });
  on("hello", hello);
  on("rows", (rows) => charts.add(rows.t, rows.v));
  on("gates", (said) => gates.tell(said));
  on("columns", (columns) => gates.add(columns.t, columns.v));
  on("status", status);
  on("happened", happened);
}

function hello(robot) {
  by("robot").textContent = robot.name;
  by("model").textContent = robot.says;
  charts.build(robot.kinds, robot.channels);
  charts.idle = robot.idle;
  by("events").replaceChildren(element("li", "none", "Nothing yet."));
  for (const one of robot.happened) happened(one);
  by("strip").replaceChildren(...robot.past.map((level) => element("i", level)));
  by("commands").hidden = !(robot.commands && token);
}

function status(now) {
  offset = now.t - Date.now() / 1000;
  verdict(now.verdict);
  const list = by("truths");
  now.truths.forEach((truth, k) => {
    let one = list.children[k];
    if (!one) {
      one = element("li");
      one.append(element("span", "name"), element("span", "said"), element("span", "more"));
      list.append(one);
    }
    one.dataset.level = truth.level;
    one.children[0].textContent = truth.name;
    one.children[1].textContent = truth.said;
    one.children[2].textContent = truth.more;
  });
  const rows = now.counts.flatMap((one) => {
    const value = element("dd", "", one.value);
    value.dataset.level = one.level;
    return [element("dt", "", one.name), value, ...(one.more ? [element("dd", "wide", one.more)] : [])];
  });
  by("counts").replaceChildren(...rows);
  if (now.past) {
    const strip = by("strip");
    strip.append(element("i", now.past));
    while (strip.children.length > now.past_length) strip.firstChild.remove();
    by("past-from").textContent = now.past_from;
    by("past-says").textContent = now.past_says;
  }
  charts.driven(now.t, now.verdict.level !== "bad");
}

function verdict(said) {
  document.body.dataset.level = said.level;
  if (by("title").textContent !== said.title) by("title").textContent = said.title;
  by("detail").textContent = said.detail;
  const name = by("robot").textContent || "edge-lstm";
  document.title = `${{ ok: "✓", warn: "!", bad: "✕", wait: "…" }[said.level]} ${name}: ${said.title}`;
}

function happened(one) {
  const list = by("events");
  list.querySelector(".none")?.remove();
  const item = element("li");
  item.dataset.level = one.level;
  const when = element("time", "", clock(one.t));
  when.dateTime = new Date(one.t * 1000).toISOString();
  item.append(when, element("span", "text", one.text));
  list.prepend(item);
  while (list.children.length > 200) list.lastChild.remove();
  by("more").hidden = list.children.length < 4 || list.classList.contains("all");
}

async function command(what, file = null) {
  const answer = by("answer");
  answer.dataset.level = "";
  answer.textContent = "…";
  try {
    const reply = await fetch(file ? `/swap?file=${encodeURIComponent(file.name)}` : "/command", {
      method: "POST",
      headers: {
        "Content-Type": file ? "application/octet-stream" : "application/json",
        Authorization: `Bearer ${token}`,
      },
      body: file ?? JSON.stringify(what),
    });
    const said = await reply.json();
    answer.dataset.level = said.ok ? "ok" : "bad";
    answer.textContent = said.ok ? said.said || "Done." : said.error;
  } catch {
    answer.dataset.level = "bad";
    answer.textContent = "The server did not answer.";
  }
}

let decide = () => {};

// Whether a person means it, asked once more.
function sure(text, yes) {
  by("sure-text").textContent = text;
  by("sure-yes").textContent = yes;
  by("sure").showModal();
  return new Promise((done) => { decide = done; });
}

by("sure").addEventListener("submit", (event) => decide(event.submitter.value === "yes"));
by("sure").addEventListener("cancel", () => decide(false));
by("mark").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = event.target.elements.text;
  await command({ do: "mark", text: text.value });
  text.value = "";
});
by("swap").addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = event.target.elements.file.files[0];
  if (await sure(`Let ${file.name} drive the robot from the next reading on?`, "Swap")) command({}, file);
});
by("reset").addEventListener("click", async () => {
  if (await sure("Reset the model's memory, as at the start of a drive?", "Reset")) command({ do: "reset" });
});
by("stop").addEventListener("click", async () => {
  if (await sure("Put the robot into its safe output and end the run?", "Stop the robot")) command({ do: "stop" });
});
by("more").addEventListener("click", () => {
  by("events").classList.add("all");
  by("more").hidden = true;
});

let drawn = 0;
function frame(now) {
  const every = charts.values.length > 24 ? 200 : 100;
  if (now - drawn > every && !document.hidden) {
    drawn = now;
    charts.now = Date.now() / 1000 + offset;
    charts.draw();
    gates.draw();
  }
  requestAnimationFrame(frame);
}

setInterval(() => {
  const silent = performance.now() - heard;
  if (silent < SILENT_MS) return;
  const title = reached ? "No contact" : "Connecting";
  const since = reached ? `The page has heard nothing for ${Math.round(silent / 1000)} s: what it shows is old.` : "The server does not answer.";
  verdict({ level: reached ? "bad" : "wait", title, detail: since });
  if (stream.readyState === EventSource.CLOSED) listen();
}, 1000);

charts.now = Date.now() / 1000;
listen();
requestAnimationFrame(frame);
