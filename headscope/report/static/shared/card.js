"use strict";
// The card of the selected head: each score on the line of all heads, with its interval, null, p and rank.

display.line = {
  SVG: "http://www.w3.org/2000/svg",

  make(name, attributes) {
    const made = document.createElementNS(this.SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  },
  stroke(kind, x1, x2, y1, y2) {
    return this.make("line", { class: kind, x1, x2, y1, y2 });
  },
  /** From a score to its place on the line, in thousandths: everything that is shown on it, and zero. */
  scale(score) {
    const all = [...score.mean, ...score.low, ...score.high, ...score.null].filter(display.known);
    const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
    return (value) => (1000 * (value - low)) / (high - low || 1);
  },
  /** A tick a head, a mark at zero. */
  drawn(score, at) {
    const svg = this.make("svg", { viewBox: "0 0 1000 16", preserveAspectRatio: "none", "aria-hidden": "true" });
    const ticks = this.make("path", { class: "ticks", d: score.mean.filter(display.known).map((value) => `M${at(value).toFixed(1)} 4V12`).join("") });
    svg.append(this.stroke("base", 0, 1000, 8, 8), this.stroke("base", at(0), at(0), 1, 15), ticks);
    return svg;
  },
};

display.Card = class {
  /** Into the elements card-title, card-class, card-group and card-scores. open: the group of tasks that is folded out. */
  constructor(scores, { open = "" } = {}) {
    Object.assign(this, { scores, rows: [], tables: [] });
    const { $, element } = display;
    const free = scores.entries.filter((score) => !score.task);
    const others = free.filter((score) => score.folded);
    const parts = free.filter((score) => !score.folded).map((score) => this.row(score));
    for (const group of scores.groups) {
      const listed = scores.entries.filter((score) => score.group === group && score.task);
      if (listed.length) parts.push(this.folded(group, () => this.table(listed), group === open));
    }
    if (others.length) parts.push(this.folded("Other variants", () => others.map((score) => this.row(score)), parts.length === 0));
    $("card-scores").replaceChildren(...(parts.length ? parts : [element("p", { class: "note" }, "This head has not been scored yet.")]));
  }

  /** Built when it is first opened. */
  folded(title, build, open) {
    const { element } = display;
    const made = element("details", {}, element("summary", {}, title));
    made.addEventListener("toggle", () => {
      if (made.childElementCount > 1) return;
      made.append(...[build()].flat());
      this.update(this.place);
      this.mark(this.marked);
    });
    made.open = open;
    return made;
  }

  /** A score's row; `update` moves its marks to a head. */
  row(score) {
    const { element, known, line } = display;
    const { scores } = this;
    const [value, around, below, rank] = [element("b"), element("span"), element("span"), element("span")];
    const at = line.scale(score);
    const [svg, dot, zero] = [line.drawn(score, at), element("i", { class: "dot" }), element("i", { class: "null" })];
    const bar = line.stroke("interval", 0, 0, 8, 8);
    svg.append(bar);
    const made = element("div", { class: "score", "data-score": score.id },
      element("header", {}, element("span", { title: score.meaning }, score.label), element("span", {}, value, " ", around)),
      element("div", { class: "range" }, svg, zero, dot),
      element("footer", {}, below, rank));
    const put = (mark, number) => {
      mark.hidden = !known(number);
      mark.style.left = `${known(number) ? at(number) / 10 : 0}%`;
    };
    this.rows.push({ made, id: score.id, update: (place) => {
      value.textContent = scores.value(score, place);
      around.textContent = scores.interval(score, place);
      below.textContent = scores.null(score, place);
      rank.textContent = this.rank(score, place);
      put(dot, score.mean[place]);
      put(zero, score.null[place]);
      const wide = known(score.low[place]);
      bar.setAttribute("x1", wide ? at(score.low[place]) : 0);
      bar.setAttribute("x2", wide ? at(score.high[place]) : 0);
    } });
    return made;
  }
  rank(score, place) {
    return display.known(score.mean[place]) ? `rank ${this.scores.rank(score, place)} of ${this.scores.ranks(score).size}` : "no such head";
  }

  /** One row a task. */
  table(listed) {
    const { element } = display;
    const body = element("tbody");
    const headings = ["Task", "value", "95%", "rank"].map((name, at) => element("th", { scope: "col", class: at ? "number" : null }, name));
    this.tables.push((place) => body.replaceChildren(...listed.map((score) => element("tr", {},
      element("th", { scope: "row" }, element("bdi", {}, score.task)),
      element("td", { class: "number" }, this.scores.value(score, place)),
      element("td", { class: "number note" }, this.scores.interval(score, place)),
      element("td", { class: "number note" }, this.rank(score, place).replace("rank ", ""))))));
    return element("table", { class: "plain-table" }, element("thead", {}, element("tr", {}, ...headings)), body);
  }

  /** Another head. */
  update(place) {
    if (place === undefined) return;
    this.place = place;
    const { $ } = display;
    const kind = this.scores.className(place);
    $("card-title").textContent = `Head ${this.scores.headName(place)}`;
    $("card-class").textContent = kind;
    $("card-class").className = kind ? `badge ${kind.replaceAll(" ", "-")}` : "";
    const vector = this.scores.isVector(place) ? `. ${display.VECTOR_MARK} One of the function-vector heads` : "";
    $("card-group").textContent = this.scores.group(place) + vector;
    this.rows.forEach(({ update }) => update(place));
    this.tables.forEach((update) => update(place));
  }
  /** The score that the mosaic shows. */
  mark(id) {
    this.marked = id;
    this.rows.forEach((row) => row.made.classList.toggle("chosen", row.id === id));
  }
};
