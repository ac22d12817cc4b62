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
    this.tell();
  },
};

// Before anything is drawn.
try {
  const kept = localStorage.getItem("headscope-theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch { /* storage is off */ }
