// The charts: what each shows was decided by the server; here they are drawn.
// Its rule: one clock for all of them; what is not on the screen is not drawn; a gap in the data is a gap in the line.
"use strict";

const SPANS_S = [5, 30];
const KEPT_S = 31;
const OLD_S = 1; // a value older than this is not shown as the present one

class Charts {
  constructor(place) {
    this.place = place;
    this.times = [];
    this.values = [];
    this.charts = [];
    this.idle = []; // [from, to] in s: the model did not drive; to is null while it still does not
    this.span = Number(sessionStorage.getItem("span")) || 30;
    this.now = Date.now() / 1000;
    this.spans = element("span");
    this.spans.id = "span";
    for (const span of SPANS_S) {
      const button = element("button", "", `${span} s`);
      button.type = "button";
      button.dataset.span = span;
      button.addEventListener("click", () => this.show(span));
      this.spans.append(button);
    }
    this.show(this.span);
    this.seen = new IntersectionObserver((all) => {
      for (const one of all) one.target.chart.visible = one.isIntersecting;
    }, { rootMargin: "200px" });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(true));
  }

  // So many seconds up to now.
  show(span) {
    this.span = span;
    sessionStorage.setItem("span", span);
    for (const button of this.spans.children) button.setAttribute("aria-pressed", String(Number(button.dataset.span) === span));
  }

  // kinds: [{title, count, charts: [{title, unit, series: [{label, channel}]}]}]
  build(kinds, channels) {
    for (const chart of this.charts) chart.plot.destroy();
    this.seen.disconnect();
    this.place.replaceChildren();
    this.charts = [];
    this.times = [];
    this.values = Array.from({ length: channels }, () => []);
    if (kinds.length) this.place.append(this.spans);
    for (const kind of kinds) {
      const section = element("section", "kind");
      section.style.setProperty("--charts", kind.charts.length);
      const title = element("h2", "", kind.title);
      title.append(element("small", "", kind.count));
      const grid = element("div", "grid");
      section.append(title, grid);
      this.place.append(section);
      for (const chart of kind.charts) this.charts.push(this.one(chart, grid));
    }
  }

  one(what, grid) {
    const card = element("section", "chart");
    const head = element("h3", "", what.title);
    head.append(element("span", "", what.unit));
    const legend = element("div", "legend");
    const room = element("div", "plot");
    card.append(head, legend, room);
    grid.append(card);
    const chart = { what, card, visible: true, low: 0, high: 0, shown: [] };
    what.series.forEach((series, k) => {
      const button = element("button");
      button.type = "button";
      button.title = `${series.name}: show or hide`;
      button.setAttribute("aria-pressed", "true");
      const value = element("span", "value", "–");
      button.append(element("i", `i${k}`), element("span", "label", series.label), value);
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        chart.plot.setSeries(k + 1, { show: on });
      });
      legend.append(button);
      chart.shown.push(value);
    });
    const font = "12px system-ui, 'Noto Sans', 'DejaVu Sans', sans-serif";
    const axis = () => colour("--soft");
    const grid_ = { stroke: () => colour("--grid"), width: 1 };
    chart.plot = new uPlot({
      width: room.clientWidth || 300,
      height: room.clientHeight || 130,
      legend: { show: false },
      cursor: { sync: { key: "time" }, drag: { setScale: false, x: false, y: false }, points: { size: 6 } },
      padding: [6, 8, 0, 0],
      scales: { x: { time: true, range: () => [this.now - this.span, this.now] }, y: { range: (_, low, high) => steady(chart, low, high) } },
      axes: [
        { stroke: axis, grid: grid_, ticks: { show: false }, font, size: 22, space: 74, gap: 3, values: (plot, ticks) => ticks.map((t) => (plot.valToPos(t, "x") > plot.over.clientWidth - 20 ? "" : clock(t))) },
        { stroke: axis, grid: grid_, ticks: { show: false }, font, size: 46, space: 26, gap: 4, values: (_, ticks) => ticks.map(brief) },
      ],
      series: [{}, ...what.series.map((_, k) => ({ stroke: () => colour(`--s${k}`), width: 1.6, points: { show: false } }))],
      hooks: {
        drawClear: [(plot) => this.shade(plot)],
        setCursor: [(plot) => { chart.at = plot.cursor.idx; this.say(chart); }],
      },
    }, [[], ...what.series.map(() => [])], room);
    card.chart = chart;
    new ResizeObserver(() => chart.plot.setSize({ width: room.clientWidth, height: room.clientHeight })).observe(room);
    this.seen.observe(card);
    return chart;
  }

  // t: seconds; v: one array for each channel
  add(t, v) {
    for (const one of t) this.times.push(one);
    v.forEach((some, k) => { for (const one of some) this.values[k].push(one); });
    const cut = this.times.findIndex((one) => one > this.times[this.times.length - 1] - KEPT_S);
    if (cut > 200) {
      this.times.splice(0, cut);
      for (const values of this.values) values.splice(0, cut);
    }
  }

  driven(t, up) {
    const open = this.idle[this.idle.length - 1];
    if (!up && (!open || open[1] !== null)) this.idle.push([t, null]);
    else if (up && open && open[1] === null) open[1] = t;
    if (this.idle.length > 100) this.idle.shift();
  }

  draw(anew = false) {
    for (const chart of this.charts) {
      if (!chart.visible) continue;
      if (anew) chart.plot.redraw(true, true);
      chart.plot.setData([this.times, ...chart.what.series.map((one) => this.values[one.channel])]);
      this.say(chart);
    }
  }

  say(chart) {
    const hovered = chart.at !== null && chart.at !== undefined && chart.plot && chart.plot.cursor.left >= 0;
    const last = this.times.length - 1;
    const at = hovered ? chart.at : this.now - this.times[last] < OLD_S ? last : -1;
    chart.what.series.forEach((one, k) => {
      const value = this.values[one.channel][at];
      const text = value === null || value === undefined ? "–" : number(value, chart.high - chart.low);
      if (chart.shown[k].textContent !== text) chart.shown[k].textContent = text;
    });
  }

  shade(plot) {
    const { left, top, width, height } = plot.bbox;
    plot.ctx.save();
    plot.ctx.fillStyle = colour("--lost");
    for (const [from, to] of this.idle) {
      const a = Math.max(plot.valToPos(from, "x", true), left);
      const b = Math.min(plot.valToPos(to ?? this.now, "x", true), left + width);
      if (b > a) plot.ctx.fillRect(a, top, Math.max(b - a, 2), height);
    }
    plot.ctx.restore();
  }
}

// The range of y: grows at once, shrinks only where less than half of it is used, and is never flat.
function steady(chart, low, high) {
  if (low === null || high === null) return chart.high > chart.low ? [chart.low, chart.high] : [0, 1];
  const least = Math.max(Math.abs(low), Math.abs(high), 1e-6) * 0.02;
  const span = Math.max(high - low, least);
  const used = chart.high > chart.low ? span / (chart.high - chart.low) : 0;
  if (low < chart.low || high > chart.high || used < 0.5) {
    const middle = (low + high) / 2;
    chart.low = middle - span * 0.6;
    chart.high = middle + span * 0.6;
  }
  return [chart.low, chart.high];
}

const shades = new Map();
function colour(name) {
  const key = name + matchMedia("(prefers-color-scheme: dark)").matches;
  if (!shades.has(key)) shades.set(key, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return shades.get(key);
}

function element(tag, kind = "", text = "") {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text) made.textContent = text;
  return made;
}

// A value as exactly as its chart shows it: three digits of its span.
function number(value, span) {
  const size = Math.abs(value);
  if (size >= 1e6 || (span > 0 && span < 1e-4)) return value.toExponential(2);
  const digits = Math.min(Math.max(2 - Math.floor(Math.log10(span > 0 ? span : 1)), 0), 6);
  return value.toFixed(digits).replace(/^-(0(?:\.0*)?)$/, "$1");
}

function brief(value) {
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e5 || size < 1e-3) ? value.toExponential(1) : String(+value.toPrecision(4));
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
}
