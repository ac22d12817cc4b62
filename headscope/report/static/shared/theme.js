"use strict";
// Light and dark: figures are drawn in the light theme's colours, which are exchanged one for one. Paper is light.

display.theme = {
  KEY: "headscope-theme",
  palettes: null,
  printing: false,
  listeners: [],

  dark() {
    if (this.printing) return false;
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },
  name() {
    return this.dark() ? "dark" : "light";
  },
  colour(role) {
    return this.palettes[this.name()][this.printing && role === "paper" ? "panel" : role];
  },
  stops(signed) {
    return this.palettes[signed ? "diverging" : "sequential"][this.name()];
  },
  scale(signed) {
    const stops = this.stops(signed);
    return stops.map((stop, at) => [at / (stops.length - 1), stop]);
  },

  /** A figure from Python in the present theme, on the page's own colour. */
  dressed({ data, layout }) {
    const { light, dark, swaps } = this.palettes;
    const all = this.dark() ? { ...swaps, [light.panel]: dark.paper } : this.printing ? {} : { [light.panel]: light.paper };
    const text = JSON.stringify({ data, layout });
    return JSON.parse(text.replace(/"(#[0-9a-f]{6}|rgba\([^"]*\))"/g, (whole, name) => (all[name] ? `"${all[name]}"` : whole)));
  },

  /** Layout that figures made on the page share. */
  layout(more) {
    const axis = { gridcolor: this.colour("grid"), showgrid: false, zeroline: false, showline: false, ticks: "", tickfont: { size: 11 }, fixedrange: display.TOUCH };
    const paper = this.colour("paper");
    return {
      font: { family: getComputedStyle(document.documentElement).getPropertyValue("--sans"), size: 12, color: this.colour("ink") },
      paper_bgcolor: paper,
      plot_bgcolor: paper,
      hoverlabel: { bgcolor: this.colour("panel"), bordercolor: this.colour("rule"), font: { color: this.colour("ink"), size: 12 }, align: "left" },
      dragmode: false,
      ...more,
      xaxis: { ...axis, ...more.xaxis },
      yaxis: { ...axis, ...more.yaxis },
    };
  },
  /** A colour bar above a heat map, as wide as the map. */
  bar: { orientation: "h", x: 0.5, y: 1, yanchor: "bottom", len: 1.02, thickness: 8, outlinewidth: 0, ticks: "outside", ticklen: 3, tickfont: { size: 10 }, tickangle: 0, nticks: 6, ypad: 4 },
  /** Names of both axes at a fixed distance, in pixels, from the plot: plotly's own titles lie on labels now and then. */
  axisNames(x, y, below, beside) {
    const shared = { xref: "paper", yref: "paper", showarrow: false, font: { size: 12 }, xanchor: "center", yanchor: "middle" };
    return [{ ...shared, text: x, x: 0.5, y: 0, yshift: -below }, { ...shared, text: y, x: 0, y: 0.5, xshift: -beside, textangle: -90 }];
  },
  /** The frame around a cell or a row of a heat map. */
  frame(x0, x1, y0, y1, width) {
    return { type: "rect", x0: x0 - 0.5, x1: x1 + 0.5, y0: y0 - 0.5, y1: y1 + 0.5, line: { color: this.colour("accent"), width } };
  },

  PAGE: 670, // pixels of a printed page's width
  /** A figure's width as a share of the printed page; on the screen, figures take the width they find. */
  width(share) {
    return this.printing ? { width: this.PAGE * share } : {};
  },

  changed() {
    this.button.textContent = this.dark() ? "Light" : "Dark";
    this.listeners.forEach((listener) => listener());
  },
  /** What was chosen before, as soon as the script is read: nothing is drawn in the other theme first. */
  recall() {
    try {
      const kept = localStorage.getItem(this.KEY);
      if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
    } catch { /* no storage in this browser, or none for files */ }
  },
  start(palettes, button) {
    this.palettes = palettes;
    this.button = button;
    button.addEventListener("click", () => {
      const next = this.dark() ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      try { localStorage.setItem(this.KEY, next); } catch { /* as above */ }
      this.changed();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.changed());
    for (const [name, printing] of [["beforeprint", true], ["afterprint", false]]) {
      addEventListener(name, () => {
        this.printing = printing;
        this.changed();
      });
    }
    button.textContent = this.dark() ? "Light" : "Dark";
  },
};
display.theme.recall();
