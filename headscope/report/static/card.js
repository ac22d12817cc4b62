"use strict";
// The card of the selected head: each score on the line of all heads, with its interval, null, p and rank.

const SVG = "http://www.w3.org/2000/svg";

function line(kind, x1, x2, y1, y2) {
  const made = document.createElementNS(SVG, "line");
  for (const [name, value] of Object.entries({ class: kind, x1, x2, y1, y2 })) made.setAttribute(name, value);
  return made;
}

const card = {
  rows: new Map(),
  /** From a score to its place on the line, in thousandths. */
  place(score) {
    if (!score.extent) {
      const all = [...score.mean, ...score.low, ...score.high, ...score.null].filter(known);
      const [low, high] = [Math.min(0, ...all), Math.max(...all, 0)];
      score.extent = [low, high - low || 1];
    }
    const [low, width] = score.extent;
    return (value) => (1000 * (value - low)) / width;
  },
  /** The line itself, drawn once: a tick a head, a mark at zero. */
  range(score) {
    const at = this.place(score);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 1000 16");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const ticks = document.createElementNS(SVG, "path");
    ticks.setAttribute("class", "ticks");
    ticks.setAttribute("d", score.mean.filter(known).map((value) => `M${at(value).toFixed(1)} 4V12`).join(""));
    svg.append(line("base", 0, 1000, 8, 8), line("base", at(0), at(0), 1, 15), ticks);
    return svg;
  },
  /** A score's row; `update` moves the marks to a head. */
  row(score, index) {
    const [value, told, below, place] = [element("b"), element("span"), element("span"), element("span")];
    const [svg, dot, none] = [this.range(score), element("i", { class: "dot" }), element("i", { class: "null" })];
    const bar = line("interval", 0, 0, 8, 8);
    svg.append(bar);
    const made = element("div", { class: "score", "data-score": String(index) },
      element("header", {}, element("span", {}, score.group === score.short || !score.label.includes(":") ? score.label : score.short), element("span", {}, value, " ", told)),
      element("div", { class: "range" }, svg, none, dot),
      element("footer", {}, below, place));
    const at = this.place(score);
    const update = (head) => {
      const mean = score.mean[head];
      value.textContent = number(mean, score);
      told.textContent = interval(score, head);
      below.textContent = known(score.null[head]) ? `null ${nullMean(score, head)}, p ${probability(score.p[head])} (family-wise ${probability(score.family[head])})` : "";
      place.textContent = known(mean) ? `rank ${rank(score, head)} of ${score.ranks.size}` : "no such head";
      dot.hidden = !known(mean);
      dot.style.left = `${(known(mean) ? at(mean) : 0) / 10}%`;
      none.hidden = !known(score.null[head]);
      none.style.left = `${(known(score.null[head]) ? at(score.null[head]) : 0) / 10}%`;
      const wide = known(score.low[head]);
      bar.setAttribute("x1", wide ? at(score.low[head]) : 0);
      bar.setAttribute("x2", wide ? at(score.high[head]) : 0);
    };
    return { made, update };
  },
  fill(parent, group) {
    report.scores.forEach((score, index) => {
      if (score.group !== group) return;
      const row = this.row(score, index);
      this.rows.set(index, row);
      row.update(selection.place);
      parent.append(row.made);
    });
  },
  markChosen() {
    this.rows.forEach(({ made }, index) => made.classList.toggle("chosen", index === mosaic.score));
  },
  update() {
    const [layer, head] = [Math.floor(selection.place / report.heads), selection.place % report.heads];
    $("card-title").textContent = `Head ${layer}.${head}`;
    const kind = className(selection.place);
    $("card-class").textContent = kind;
    $("card-class").className = kind ? `badge ${kind.replace(/ /g, "-")}` : "";
    const size = report.heads / report.kv;
    const group = Math.floor(head / size);
    const mates = Array.from({ length: size }, (_, k) => group * size + k).filter((other) => other !== head).map((other) => `${layer}.${other}`);
    $("card-group").textContent = mates.length ? `Key-value head ${group}, shared with ${mates.join(", ")}` : "A key-value head of its own";
    this.rows.forEach(({ update }) => update(selection.place));
  },
  start() {
    const [first, ...others] = report.groups;
    this.fill($("card-scores"), first);
    for (const group of others) {
      const folded = element("details", {}, element("summary", {}, group));
      folded.addEventListener("toggle", () => { if (folded.childElementCount === 1) { this.fill(folded, group); this.markChosen(); } });
      $("card-scores").append(folded);
    }
    this.markChosen();
    this.update();
    selection.listeners.push(() => this.update());
  },
};
