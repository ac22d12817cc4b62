"use strict";
// Light and dark: figures are drawn in the light theme's colours, which are exchanged one for one.

const theme = {
  listeners: [],
  printing: false,
  dark() {
    if (this.printing) return false;
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  },
  colour(role) {
    return report.theme[this.dark() ? "dark" : "light"][role];
  },
  scale(signed) {
    const stops = report.theme[signed ? "diverging" : "sequential"][this.dark() ? "dark" : "light"];
    return stops.map((stop, place) => [place / (stops.length - 1), stop]);
  },
  /** Width in pixels for a share of a printed page; on the screen, figures take the width they find. */
  width(share) {
    return this.printing ? { width: 670 * share } : {};
  },
  /** A figure from Python in the present theme. */
  dressed(figure) {
    const text = JSON.stringify({ data: figure.data, layout: figure.layout });
    const swaps = this.dark() ? report.theme.swaps : { [report.theme.light.panel]: report.theme.light.paper };
    const paper = this.dark() ? { [report.theme.light.panel]: report.theme.dark.paper } : {};
    const all = { ...swaps, ...paper };
    return JSON.parse(text.replace(/"(#[0-9a-f]{6}|rgba\([^"]*\))"/g, (whole, name) => (all[name] ? `"${all[name]}"` : whole)));
  },
  /** Layout that figures made on the page share. */
  layout(more) {
    const axis = { gridcolor: this.colour("grid"), zeroline: false, showline: false, ticks: "", tickfont: { size: 11 }, fixedrange: TOUCH };
    return {
      font: { family: getComputedStyle(document.documentElement).getPropertyValue("--sans"), size: 12, color: this.colour("ink") },
      paper_bgcolor: this.colour("paper"),
      plot_bgcolor: this.colour("paper"),
      hoverlabel: { bgcolor: this.colour("panel"), bordercolor: this.colour("rule"), font: { color: this.colour("ink"), size: 12 }, align: "left" },
      dragmode: false,
      ...more,
      xaxis: { ...axis, ...more.xaxis },
      yaxis: { ...axis, ...more.yaxis },
    };
  },
  changed() {
    $("theme").textContent = this.dark() ? "Light" : "Dark";
    this.listeners.forEach((listener) => listener());
  },
  start() {
    try {
      const kept = localStorage.getItem("headscope-theme");
      if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
    } catch { /* no storage for files in this browser */ }
    $("theme").addEventListener("click", () => {
      const next = this.dark() ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      try { localStorage.setItem("headscope-theme", next); } catch { /* as above */ }
      this.changed();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.changed());
    for (const [name, printing] of [["beforeprint", true], ["afterprint", false]]) {
      addEventListener(name, () => { this.printing = printing; this.changed(); });
    }
    $("theme").textContent = this.dark() ? "Light" : "Dark";
  },
};
