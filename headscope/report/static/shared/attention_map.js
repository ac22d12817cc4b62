"use strict";
// One head's attention as a heat map: queries downwards, keys across, tokens at the axes.

display.attentionMap = {
  FONT: 10,
  LEAST: 0.05, // of the colour scale: a head that looks at nothing but the first position stays pale
  WHOLE: 0.95, // from here on the colours run to 1: nothing is left that a plus sign could tell

  /** The highest attention to a position other than the first, which takes what a head does not need; 1 if close. */
  end(rows, keys) {
    const highest = (most, value, at) => (display.known(value) && keys[at].position > 0 ? Math.max(most, value) : most);
    const end = rows.reduce((most, row) => row.reduce(highest, most), this.LEAST);
    return end >= this.WHOLE ? 1 : end;
  },

  /** Which of equally spaced labels are shown: as many as lines of this height have room for. */
  every(count, pixels) {
    const { height } = display.textSize("Åy", this.FONT);
    return Math.max(1, Math.ceil((height * count) / pixels));
  },
  ticks(labels, pixels) {
    const every = this.every(labels.length, pixels);
    const listed = labels.filter((_, at) => at % every === 0);
    return { tickmode: "array", tickvals: listed.map(({ position }) => position), ticktext: listed.map(({ text }) => display.plain(text)), tickfont: { size: this.FONT } };
  },

  /** The colour bar; where cells lie beyond its end, it says so. */
  bar(end, capped) {
    const digits = end >= 0.1 ? 2 : 3;
    const tickvals = [0, 1, 2, 3, 4].map((quarter) => (end * quarter) / 4);
    const ticktext = tickvals.map((value) => value.toFixed(digits));
    if (capped) ticktext[4] = `≥${ticktext[4]}`;
    return { ...display.theme.bar, tickmode: "array", tickvals, ticktext };
  },

  /** Two lines where a copy of a block begins: down from the diagonal and across to it. */
  lines(blocks, [left, right], [top, bottom]) {
    const line = { color: display.theme.colour("rule"), width: 1 };
    return blocks.filter((start) => start > 1).flatMap((start) => {
      const edge = start - 0.5;
      const made = [];
      if (edge > top && edge < bottom && edge > left) made.push({ type: "line", line, x0: left, x1: Math.min(edge, right), y0: edge, y1: edge });
      if (edge > left && edge < right && edge < bottom) made.push({ type: "line", line, x0: edge, x1: edge, y0: Math.max(edge, top), y1: bottom });
      return made;
    });
  },

  /** rows: values, nothing after the query; queries, keys: { position, text } of each row and column; box: where it is
   * drawn, width: in place of the box's own; query: the row that is framed. */
  figure({ rows, queries, keys, blocks }, { box, width = box.clientWidth, query = null, name = "" }) {
    const { theme } = display;
    const [left, right] = [keys[0].position - 0.5, keys.at(-1).position + 0.5];
    const [top, bottom] = [queries[0].position - 0.5, queries.at(-1).position + 0.5];
    const longest = Math.max(...[...queries, ...keys].map(({ text }) => display.textSize(text, this.FONT).width));
    const margin = { l: Math.ceil(longest) + 30, r: 22, t: 36, b: Math.ceil(longest) + 30 };
    const side = Math.max(120, Math.min(660, width - margin.l - margin.r));
    const end = this.end(rows, keys);
    const over = rows.map((row) => row.map((value) => display.known(value) && value > end));
    const capped = over.some((row) => row.includes(true));
    const cells = {
      type: "heatmap", x: keys.map(({ position }) => position), y: queries.map(({ position }) => position), z: rows, colorscale: theme.scale(false), zmin: 0, zmax: end, hoverongaps: false,
      text: over.map((row) => row.map((beyond) => (beyond ? "+" : ""))), texttemplate: capped ? "%{text}" : "", textfont: { color: theme.colour("paper"), size: Math.max(6, Math.min(11, side / rows.length)) },
      customdata: queries.map((from) => keys.map((to) => `from ${display.plain(from.text)}<br>to ${display.plain(to.text)}`)), hovertemplate: "%{customdata}<br>attention %{z:.3f}<extra></extra>",
      colorbar: this.bar(end, capped),
    };
    const framed = query !== null && query > top && query < bottom ? [theme.frame(left + 0.5, right - 0.5, query, query, 1.5)] : [];
    const layout = theme.layout({
      width, height: side + margin.t + margin.b, margin, meta: name, annotations: theme.axisNames("key", "query", margin.b - 10, margin.l - 10), shapes: [...this.lines(blocks, [left, right], [top, bottom]), ...framed],
      xaxis: { range: [left, right], tickangle: -90, ...this.ticks(keys, width - margin.l - margin.r) },
      yaxis: { range: [bottom, top], tickangle: 0, ...this.ticks(queries, side) },
    });
    return { data: [cells], layout };
  },
};
