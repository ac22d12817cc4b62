"use strict";
// The figures of later stages, drawn when they come into view and again when the theme changes.

const figures = {
  drawn: new Map(),
  draw(box, figure) {
    const { data, layout } = display.theme.dressed(figure);
    const touch = display.TOUCH ? { dragmode: false } : {};
    const narrow = box.parentElement.matches(".three, .small");
    this.drawn.set(box, figure);
    return Plotly.react(box, data, { ...layout, ...touch, ...paper.width(narrow ? 0.48 : 1), autosize: true }, display.PLOT_OPTIONS);
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
        const box = element("div", { class: "plot", "data-panel": `${grid.dataset.figure}/${index}` });
        box.style.minHeight = `${panel.layout.height}px`;
        grid.append(box);
        seen.observe(box);
      });
    }
    display.theme.listeners.push(() => this.drawn.forEach((figure, box) => this.draw(box, figure)));
  },
};
