"use strict";
// The mosaic of heads: one score as colour, the selected head framed.

const mosaic = {
  score: 0,
  /** The flat values as rows of one layer each. */
  rows(values) {
    return Array.from({ length: report.layers }, (_, layer) => values.slice(layer * report.heads, (layer + 1) * report.heads));
  },
  /** What hovering says. */
  told(score, place) {
    const kind = className(place);
    const lines = [`<b>head ${headName(place)}</b>${kind ? ` ${label(kind)}` : ""}`, `${label(score.label)} ${number(score.mean[place], score)} ${interval(score, place)}`];
    if (score.null.length) lines.push(`null ${nullMean(score, place)}`);
    if (score.p.length) lines.push(`p ${probability(score.p[place])}, family-wise ${probability(score.family[place])}`);
    return lines.join("<br>");
  },
  frame(place) {
    const [layer, head] = [Math.floor(place / report.heads), place % report.heads];
    return { type: "rect", x0: head - 0.5, x1: head + 0.5, y0: layer - 0.5, y1: layer + 0.5, line: { color: theme.colour("accent"), width: 3 } };
  },
  height() {
    return Math.max(300, Math.min(860, 96 + report.layers * (report.heads > 24 ? 12 : 17)));
  },
  step(count) {
    return [1, 2, 4, 5, 8, 10, 20, 50].find((size) => count / size <= 16) || 100;
  },
  draw() {
    const score = report.scores[this.score];
    const places = score.mean.map((_, place) => place);
    const largest = Math.max(...score.mean.filter(known).map(Math.abs), 1e-12);
    const marks = report.classes && report.heads <= 24 ? places.map((place) => CLASS_MARKS[className(place)] || "") : places.map(() => "");
    const trace = {
      type: "heatmap", z: this.rows(score.mean), text: this.rows(marks), texttemplate: "%{text}", textfont: { size: 9 },
      customdata: this.rows(places.map((place) => this.told(score, place))), hovertemplate: "%{customdata}<extra></extra>",
      hoverongaps: false, xgap: 1, ygap: 1, colorscale: theme.scale(score.signed), zmin: score.signed ? -largest : 0, zmax: largest,
      colorbar: { orientation: "h", x: 0.5, y: 1, yanchor: "bottom", len: 1.02, lenmode: "fraction", thickness: 8, outlinewidth: 0, ticks: "outside", ticklen: 3, tickfont: { size: 10 }, nticks: 6, ypad: 4 },
    };
    const layout = theme.layout({
      height: this.height(), ...theme.width(report.heads > 24 ? 1 : 0.48), margin: { l: 44, r: 8, t: 36, b: 40 }, shapes: [this.frame(selection.place)],
      xaxis: { title: { text: "head", standoff: 6 }, dtick: this.step(report.heads), showgrid: false, range: [-0.5, report.heads - 0.5] },
      yaxis: { title: { text: "layer", standoff: 6 }, dtick: this.step(report.layers), showgrid: false, range: [report.layers - 0.5, -0.5] },
    });
    return Plotly.react($("mosaic"), [trace], layout, PLOT_OPTIONS);
  },
  describe() {
    const score = report.scores[this.score];
    $("meaning").textContent = score.meaning;
    const kinds = report.classes && report.heads <= 24 ? Object.entries(CLASS_MARKS) : [];
    $("legend").replaceChildren(...kinds.map(([name, mark]) => element("span", {}, `${mark} ${name}`)));
  },
  show(index) {
    this.score = index;
    $("score").value = String(index);
    this.describe();
    this.draw();
    card.markChosen();
  },
  start() {
    for (const group of report.groups) {
      const options = report.scores.map((score, index) => [score, index]).filter(([score]) => score.group === group);
      $("score").append(element("optgroup", { label: group }, ...options.map(([score, index]) => element("option", { value: String(index) }, score.label))));
    }
    $("score").addEventListener("change", () => { this.show(Number($("score").value)); page.remember(); });
    if (report.heads > 24) document.querySelector(".panels").classList.add("wide-mosaic");
    this.describe();
    this.draw().then(() => {
      $("mosaic").on("plotly_click", (event) => {
        const { x, y } = event.points[0];
        selection.choose(y * report.heads + x);
        $("mosaic").focus({ preventScroll: true });
      });
    });
    theme.listeners.push(() => this.draw());
    selection.listeners.push(() => Plotly.relayout($("mosaic"), { shapes: [this.frame(selection.place)] }));
  },
};
