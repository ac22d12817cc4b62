"use strict";
// The mosaic of heads: one score as colour, layers downwards, heads across, the selected head framed.

display.CLASS_MARKS = { copying: "●", "anti-copying": "▼", "matching only": "○" };
display.VECTOR_MARK = "◆"; // function-vector heads, beside the class that a head may have

display.mosaic = {
  height: (scores) => Math.max(300, Math.min(800, 96 + scores.layers * (scores.wide ? 12 : 17))),
  step: (count) => [1, 2, 4, 5, 8, 10, 20, 50].find((size) => count / size <= 16) || 100,
  frame(scores, place) {
    const [layer, head] = scores.headAt(place);
    return display.theme.frame(head, head, layer, layer, 3);
  },

  /** What hovering says: the head, its class, and the scores that are shown, each with its null. */
  hover(scores, listed, place) {
    const kinds = [scores.className(place), scores.isVector(place) ? "function vector" : ""].filter(Boolean).join(", ");
    const lines = [`<b>head ${scores.headName(place)}</b>${kinds ? ` ${kinds}` : ""}`];
    for (const score of listed) {
      lines.push(`${display.plain(score.label)} ${scores.value(score, place)} ${scores.interval(score, place)}`.trim());
      if (score.null.length) lines.push(`   ${scores.null(score, place)}`);
    }
    return (listed.length ? lines : [...lines, "not scored yet"]).join("<br>");
  },

  /** Traces and layout. told: the scores that hovering tells; removed: places that are crossed out. */
  figure(scores, score, { told, selected, removed = [], ...size }) {
    const { theme } = display;
    const places = Array.from({ length: scores.size }, (_, place) => place);
    const rows = (values) => Array.from({ length: scores.layers }, (_, layer) => values.slice(layer * scores.heads, (layer + 1) * scores.heads));
    const values = score ? score.mean : places.map(() => 0);
    const largest = Math.max(...values.filter(display.known).map(Math.abs), 1e-12);
    const mark = (place) => (scores.wide ? "" : (display.CLASS_MARKS[scores.className(place)] ?? "") + (scores.isVector(place) ? display.VECTOR_MARK : ""));
    const signed = Boolean(score?.signed);
    const cells = {
      type: "heatmap", z: rows(values), text: rows(places.map(mark)), texttemplate: "%{text}", textfont: { size: 9 },
      customdata: rows(places.map((place) => this.hover(scores, told, place))), hovertemplate: "%{customdata}<extra></extra>", hoverongaps: false,
      xgap: 1, ygap: 1, colorscale: theme.scale(signed), zmin: signed ? -largest : 0, zmax: largest, showscale: Boolean(score), colorbar: theme.bar,
    };
    const crossed = {
      type: "scatter", mode: "markers", x: removed.map((place) => place % scores.heads), y: removed.map((place) => Math.floor(place / scores.heads)), hoverinfo: "skip", showlegend: false,
      marker: { symbol: "x", size: 9, color: theme.colour("accent"), line: { color: theme.colour("paper"), width: 1 } },
    };
    const layout = theme.layout({
      height: this.height(scores), margin: { l: 44, r: 8, t: 36, b: 40 }, shapes: [this.frame(scores, selected)], annotations: theme.axisNames("head", "layer", 32, 34), ...size,
      xaxis: { dtick: this.step(scores.heads), range: [-0.5, scores.heads - 0.5], fixedrange: true },
      yaxis: { dtick: this.step(scores.layers), range: [scores.layers - 0.5, -0.5], fixedrange: true },
    });
    return { data: removed.length ? [cells, crossed] : [cells], layout };
  },

  /** What the marks in the cells mean. */
  legend(scores, box) {
    const kinds = scores.classes && !scores.wide ? Object.entries(display.CLASS_MARKS) : [];
    if (scores.vectors?.length && !scores.wide) kinds.push(["function vector", display.VECTOR_MARK]);
    box.replaceChildren(...kinds.map(([name, mark]) => display.element("span", {}, `${mark} ${name}`)));
  },
  /** Every score under its heading. */
  options(scores, select, value) {
    const { element } = display;
    const groups = scores.groups.map((group) => element("optgroup", { label: group }, ...scores.entries.filter((score) => score.group === group).map((score) => element("option", { value: score.id }, score.label))));
    select.replaceChildren(...(groups.length ? groups : [element("option", { value: "" }, "not scored yet")]));
    select.value = value;
  },
};
