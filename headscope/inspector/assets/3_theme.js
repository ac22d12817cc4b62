"use strict";
// Light and dark: figures come in the light theme's colours, which are exchanged one for one, as in the report.

headscope.theme = {
  dark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },
  colour(role) {
    return headscope.told.theme[this.dark() ? "dark" : "light"][role];
  },
  stops() {
    return headscope.told.theme.sequential[this.dark() ? "dark" : "light"];
  },
  /** A figure in the present theme, on the page's own colour. */
  dressed(figure) {
    const { light, dark, swaps } = headscope.told.theme;
    const all = this.dark() ? { ...swaps, [light.panel]: dark.paper } : { [light.panel]: light.paper };
    const text = JSON.stringify({ data: figure.data, layout: figure.layout });
    return JSON.parse(text.replace(/"(#[0-9a-f]{6}|rgba\([^"]*\))"/g, (whole, name) => (all[name] ? `"${all[name]}"` : whole)));
  },
  fit() {
    const plot = document.querySelector("#attention .js-plotly-plot");
    if (plot && plot.layout && plot.layout.margin && window.Plotly) window.Plotly.relayout(plot, { height: this.square({ layout: { margin: plot.layout.margin } }).layout.height });
  },
  /** Plotly now and then draws a colour bar without room for its labels, the first time: look, and draw again. */
  settle(name, tries = 40) {
    const plot = document.querySelector(`#${name} .js-plotly-plot`);
    const bar = plot && plot.querySelector(".cbfills");
    if (!bar || !window.Plotly) {
      if (tries) setTimeout(() => this.settle(name, tries - 1), 100);
      return;
    }
    const room = plot.querySelector(".nsewdrag").getBoundingClientRect().top - bar.getBoundingClientRect().bottom;
    if (room < 15) window.Plotly.redraw(plot);
  },
  /** Nothing, where there is nothing to show. */
  blank() {
    const nothing = "rgba(0,0,0,0)";
    return { data: [], layout: { xaxis: { visible: false }, yaxis: { visible: false }, paper_bgcolor: nothing, plot_bgcolor: nothing } };
  },
  /** The frame around the selected head. */
  framed() {
    const [layer, head] = headscope.state.head;
    return [{ type: "rect", x0: head - 0.5, x1: head + 0.5, y0: layer - 0.5, y1: layer + 0.5, line: { color: this.colour("accent"), width: 3 } }];
  },
  /** Cells of the heat map are as wide as high, whatever the column's width. */
  square(figure) {
    const box = headscope.$("attention");
    const { l, r, t, b } = figure.layout.margin;
    figure.layout.height = Math.round(Math.max(260, Math.min(720, box.clientWidth - l - r + t + b)));
    box.style.height = `${figure.layout.height}px`;
    return figure;
  },
  tell() {
    headscope.$("theme-button").textContent = this.dark() ? "Light" : "Dark";
    headscope.store("theme", this.dark() ? "dark" : "light");
  },
  start() {
    headscope.$("theme-button").addEventListener("click", () => {
      const next = this.dark() ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      try { localStorage.setItem("headscope-theme", next); } catch { /* storage is off */ }
      this.tell();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.tell());
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth === width) return; // phones resize when their bars come and go
      width = innerWidth;
      clearTimeout(this.resized);
      this.resized = setTimeout(() => this.fit(), 150);
    });
    this.tell();
  },
};

// Before anything is drawn.
try {
  const kept = localStorage.getItem("headscope-theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch { /* storage is off */ }
