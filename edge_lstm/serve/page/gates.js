// The gates: of each layer and gate a picture, a row for each unit, time from left to right as in the charts.
// Its rule: what came is drawn where it belongs in time; where nothing is known nothing is drawn, and why is said.
"use strict";

const COLUMN_S = 0.25; // so long a column stands at most

class Gates {
  constructor(place, charts) {
    this.place = place;
    this.charts = charts; // whose clock and span are ours
    this.times = [];
    this.columns = [];
    this.pictures = [];
    this.shades = new Map();
    this.seen = new IntersectionObserver((all) => {
      for (const one of all) one.target.picture.visible = one.isIntersecting;
    }, { rootMargin: "200px" });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.shades.clear());
  }

  // said: {layers: [{name, units, of, gates: [{letter, words, low, high, signed}]}], why}
  tell(said) {
    const now = JSON.stringify(said.layers);
    if (now !== this.layers) this.build(said.layers);
    this.layers = now;
    if (this.why) this.why.textContent = said.why;
    this.place.hidden = !said.layers.length && !said.why;
  }

  build(layers) {
    this.seen.disconnect();
    this.pictures = [];
    this.times = [];
    this.columns = [];
    const section = element("section", "kind");
    const title = element("h2", "", "Gates");
    title.append(element("small", "", layers.length ? "what the model remembers, forgets and lets out" : ""));
    this.why = element("p", "why");
    section.append(title, this.why);
    let place = 0;
    for (const layer of layers) {
      const grid = element("div", "grid gates");
      for (const gate of layer.gates) {
        grid.append(this.one(layer, gate, place));
        place += layer.units;
      }
      section.append(grid);
    }
    this.place.replaceChildren(section);
  }

  one(layer, gate, place) {
    const card = element("section", "chart gate");
    const head = element("h3", "", gate.words);
    head.append(element("span", "", `${layer.name}.${gate.letter}`));
    const units = layer.units < layer.of ? `the first ${layer.units} of ${layer.of} units` : layer.of === 1 ? "1 unit" : `${layer.of} units`;
    const scale = element("div", "scale");
    const bar = element("i", gate.signed ? "signed" : "plain");
    const [low, high] = gate.signed ? [gate.low, gate.high] : [`0 ${gate.low}`, `1 ${gate.high}`];
    scale.append(element("span", "", low), bar, element("span", "", high), element("span", "units", units));
    const canvas = element("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${gate.words} of ${layer.name}, ${units}`);
    card.append(head, scale, canvas);
    card.picture = { canvas, place, units: layer.units, signed: gate.signed, visible: true, room: document.createElement("canvas") };
    this.pictures.push(card.picture);
    this.seen.observe(card);
    return card;
  }

  // t: seconds; v: base64, a byte of each unit
  add(t, v) {
    t.forEach((one, k) => {
      if (this.times.length && one <= this.times[this.times.length - 1]) return;
      this.times.push(one);
      this.columns.push(Uint8Array.from(atob(v[k]), (letter) => letter.charCodeAt(0)));
    });
    const cut = this.times.findIndex((one) => one > this.times[this.times.length - 1] - KEPT_S);
    if (cut > 100) {
      this.times.splice(0, cut);
      this.columns.splice(0, cut);
    }
  }

  draw() {
    for (const picture of this.pictures) if (picture.visible && picture.canvas.clientWidth) this.paint(picture);
  }

  paint({ canvas, place, units, signed, room }) {
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!this.times.length) return;
    Object.assign(room, { width, height: units });
    const inside = room.getContext("2d");
    const image = inside.createImageData(width, units);
    const pixels = new Uint32Array(image.data.buffer);
    const shades = this.shade(signed);
    const begin = this.charts.now - this.charts.span;
    let k = 0;
    for (let x = 0; x < width; x += 1) {
      const t = begin + ((x + 0.5) / width) * this.charts.span;
      while (k + 1 < this.times.length && this.times[k + 1] <= t) k += 1;
      if (this.times[k] > t || t - this.times[k] > COLUMN_S) continue;
      const column = this.columns[k];
      for (let unit = 0; unit < units; unit += 1) pixels[unit * width + x] = shades[column[place + unit]];
    }
    inside.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(room, 0, 0, width, height);
  }

  // 255 colours, as a canvas has them
  shade(signed) {
    if (!this.shades.has(signed)) {
      const style = getComputedStyle(document.documentElement);
      const ends = (signed ? ["--gate-low", "--gate-0", "--gate-1"] : ["--gate-0", "--gate-1"]).map((name) => {
        const digits = style.getPropertyValue(name).trim().slice(1);
        return [0, 2, 4].map((at) => parseInt(digits.slice(at, at + 2), 16));
      });
      const made = new Uint32Array(256);
      for (let value = 0; value < 255; value += 1) {
        const at = (value / 254) * (ends.length - 1);
        const from = Math.min(Math.floor(at), ends.length - 2);
        const [r, g, b] = ends[from].map((one, k) => Math.round(one + (at - from) * (ends[from + 1][k] - one)));
        made[value] = (255 << 24) | (b << 16) | (g << 8) | r;
      }
      this.shades.set(signed, made);
    }
    return this.shades.get(signed);
  }
}
