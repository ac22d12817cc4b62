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
    const name = scores.headName(selection.place);
    $("attention-head").textContent = name;
    $("strip-title").textContent = `What head ${name} looks at`;
    const missing = !(name in report.attention.heads);
    $("attention").hidden = missing;
    $("attention-note").hidden = !missing;
    if (missing) {
      $("attention-note").textContent = "This head's pattern is not on the page: only those of the highest scores fit.";
      return this.strip.shade(null, this.query);
    }
    const rows = await this.pattern(name);
    if (name !== scores.headName(selection.place)) return undefined;
    this.strip.shade(rows[this.query], this.query);
    return this.draw(rows);
  },
  figure(rows, size) {
    const axis = report.attention.labels.map((text, position) => ({ position, text }));
    const whole = rows.map((row) => [...row, ...Array(axis.length - row.length).fill(null)]);
    const map = { rows: whole, queries: axis, keys: axis, blocks: report.attention.blocks };
    return display.attentionMap.figure(map, { box: $("attention"), ...size });
  },
  draw(rows) {
    const { data, layout } = this.figure(rows, display.theme.width(0.8));
    return Plotly.react($("attention"), data, layout, display.PLOT_OPTIONS);
  },
  async look(query) {
    this.query = query;
    const name = scores.headName(selection.place);
    this.strip.shade(name in report.attention.heads ? (await this.pattern(name))[query] : null, query);
  },
  start() {
    const { tokens, blocks } = report.attention;
    this.query = Math.floor(((blocks.at(-1) ?? 0) + tokens.length - 1) / 2);
    this.strip = new display.Tokens($("strip"), (place) => this.look(place));
    this.strip.build({ tokens, blocks });
    this.update();
    display.theme.listeners.push(() => this.update());
    selection.listeners.push(() => this.update());
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth !== width) this.update(); // phones resize when their bars come and go
      width = innerWidth;
    });
  },
};
