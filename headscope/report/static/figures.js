"use strict";
// The figures of later stages, drawn when they come into view and again when the theme changes.

const figures = {
  drawn: new Map(),
  draw(place, figure) {
    const { data, layout } = theme.dressed(figure);
    const touch = TOUCH ? { dragmode: false } : {};
    const narrow = place.parentElement.matches(".three, .small");
    this.drawn.set(place, figure);
    return Plotly.react(place, data, { ...layout, ...touch, ...theme.width(narrow ? 0.48 : 1), autosize: true }, PLOT_OPTIONS);
  },
  start() {
    const seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting || this.drawn.has(target)) continue;
        const [figure, panel] = target.dataset.panel.split("/").map(Number);
        this.draw(target, report.figures[figure].panels[panel]);
      }
    }, { rootMargin: "300px" });
    for (const grid of document.querySelectorAll("[data-figure]")) {
      const { panels } = report.figures[Number(grid.dataset.figure)];
      panels.forEach((panel, index) => {
        if (panel.folded !== (grid.dataset.folded === "1")) return;
        const place = element("div", { class: "plot", "data-panel": `${grid.dataset.figure}/${index}` });
        place.style.minHeight = `${panel.layout.height}px`;
        grid.append(place);
        seen.observe(place);
      });
    }
    theme.listeners.push(() => this.drawn.forEach((figure, place) => this.draw(place, figure)));
  },
};
