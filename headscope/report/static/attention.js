"use strict";
// The selected head's attention on the stored sequence: a heat map, and the tokens shaded by what one of them attends to.

const attention = {
  patterns: new Map(),
  query: 0,
  /** The head's bytes, unpacked when first asked for: row q holds keys 0 to q. */
  async pattern(name) {
    if (!this.patterns.has(name)) {
      const packed = Uint8Array.from(atob(report.attention.heads[name]), (character) => character.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
      const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
      const rows = report.attention.tokens.map((_, q) => Array.from(bytes.subarray((q * (q + 1)) / 2, ((q + 1) * (q + 2)) / 2), (byte) => byte * report.attention.scale));
      this.patterns.set(name, rows);
    }
    return this.patterns.get(name);
  },
  async update() {
    const name = headName(selection.place);
    $("attention-head").textContent = name;
    $("strip-title").textContent = `What head ${name} looks at`;
    const missing = !(name in report.attention.heads);
    $("attention").hidden = missing;
    $("attention-note").hidden = !missing;
    if (missing) {
      $("attention-note").textContent = "This head's pattern is not on the page: only those of the highest scores fit.";
      return this.shade([]);
    }
    const rows = await this.pattern(name);
    if (name !== headName(selection.place)) return undefined;
    this.shade(rows[this.query]);
    return this.draw(rows);
  },
  draw(rows) {
    const tokens = report.attention.tokens;
    const count = tokens.length;
    const beyond = Math.max(0.05, ...rows.flatMap((row) => row.slice(1)));
    const z = rows.map((row) => [...row, ...Array(count - row.length).fill(null)]);
    const names = tokens.map((token, place) => `${place} ‘${label(token)}’`);
    const trace = {
      type: "heatmap", z, colorscale: theme.scale(false), zmin: 0, zmax: beyond, hoverongaps: false,
      customdata: rows.map((row, q) => row.map((_, k) => `from ${names[q]}<br>to ${names[k]}`)),
      hovertemplate: "%{customdata}<br>attention %{z:.3f}<extra></extra>",
      colorbar: { orientation: "h", x: 0.5, y: 1, yanchor: "bottom", len: 1.02, thickness: 8, outlinewidth: 0, ticks: "outside", ticklen: 3, tickfont: { size: 10 }, nticks: 6, ypad: 4 },
    };
    const mark = { type: "line", line: { color: theme.colour("rule"), width: 1 } };
    const [low, high] = [-0.5, count - 0.5];
    const breaks = report.attention.blocks.filter((start) => start > 1).flatMap((start) => [
      { ...mark, x0: start - 0.5, x1: start - 0.5, y0: start - 0.5, y1: high }, { ...mark, x0: low, x1: start - 0.5, y0: start - 0.5, y1: start - 0.5 },
    ]);
    const width = theme.width(0.8).width || $("attention").clientWidth;
    const all = count <= 32 && width / count > 11;
    const ticks = all ? { tickmode: "array", tickvals: tokens.map((_, k) => k), ticktext: tokens.map((token) => label(token.length > 12 ? `${token.slice(0, 11)}…` : token)), tickangle: -90, tickfont: { size: 10 } } : {};
    const layout = theme.layout({
      height: Math.max(280, Math.min(560, width + 34)), ...theme.width(0.8), margin: { l: 46, r: 8, t: 36, b: 46 }, shapes: breaks,
      xaxis: { title: { text: "key" }, showgrid: false, range: [low, high], automargin: true, ...ticks },
      yaxis: { title: { text: "query", standoff: 6 }, showgrid: false, range: [high, low], automargin: true, ...ticks, tickangle: 0 },
    });
    return Plotly.react($("attention"), [trace], layout, PLOT_OPTIONS);
  },
  /** Shade the tokens by the attention that the framed one pays. */
  shade(row) {
    const stops = theme.scale(false);
    [...$("strip").querySelectorAll("button")].forEach((token, place) => {
      const value = row[place] ?? 0;
      const step = Math.min(stops.length - 1, Math.round(Math.sqrt(value) * (stops.length - 1)));
      token.style.backgroundColor = stops[step][1];
      token.style.color = step >= stops.length / 2 ? theme.colour("paper") : theme.colour("ink");
      token.classList.toggle("after", place > this.query);
      token.setAttribute("aria-pressed", String(place === this.query));
      token.title = `${place}: attention ${value.toFixed(3)}`;
    });
  },
  async look(query) {
    this.query = query;
    const name = headName(selection.place);
    this.shade(name in report.attention.heads ? (await this.pattern(name))[query] : []);
  },
  start() {
    const { tokens, blocks } = report.attention;
    const last = blocks.length ? blocks[blocks.length - 1] : 0;
    this.query = Math.floor((last + tokens.length - 1) / 2);
    tokens.forEach((token, place) => {
      if (blocks.includes(place)) $("strip").append(element("span", { class: "break" }));
      const made = element("button", { type: "button", "data-token": String(place) }, element("bdi", {}, shown(token) || " "));
      made.addEventListener("click", () => this.look(place));
      $("strip").append(made);
    });
    this.update();
    theme.listeners.push(() => this.update());
    selection.listeners.push(() => this.update());
  },
};
