"use strict";
// The figures of later stages, drawn when they come into view or are printed, and again when the theme changes.

const figures = {
  drawn: new Map(),
  draw(box, figure) {
    const { data, layout } = display.theme.dressed(figure);
    const touch = display.TOUCH ? { dragmode: false } : {};
    const narrow = box.closest(".grid").matches(".three, .small");
    this.drawn.set(box, figure);
    const legible = this.legible(data, box.clientWidth);
    box.parentElement.classList.toggle("unnumbered", legible.some((trace, at) => trace !== data[at]));
    return Plotly.react(box, legible, { ...layout, ...touch, ...display.theme.width(narrow ? 0.48 : 1), autosize: true }, display.PLOT_OPTIONS);
  },
  /** Without the numbers of cells that are too narrow to hold them; hovering or a tap tells them. */
  legible(data, width) {
    const letters = ({ text }) => Math.max(0, ...text.flat().map((one) => String(one ?? "").length));
    const room = (trace) => (width - this.BESIDE) / Math.max(1, trace.text[0].length);
    const full = (trace) => trace.type === "heatmap" && trace.textfont?.size && trace.text?.length && letters(trace) * trace.textfont.size * 0.5 > room(trace);
    return data.map((trace) => (full(trace) ? { ...trace, texttemplate: "" } : trace));
  },
  BESIDE: 110, // pixels beside a matrix: the names of its rows
  panelOf(box) {
    const [figure, panel] = box.dataset.panel.split("/").map(Number);
    return report.figures[figure].panels[panel];
  },
  /** Those that nobody has scrolled to, but for what is folded away. */
  waiting: () => [...document.querySelectorAll(".plot")].filter((box) => !figures.drawn.has(box) && !box.closest("details:not([open])")),
  start() {
    const seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting && !this.drawn.has(target)) this.draw(target, this.panelOf(target));
      }
    }, { rootMargin: "300px" });
    for (const grid of document.querySelectorAll("[data-figure]")) {
      const { panels } = report.figures[Number(grid.dataset.figure)];
      panels.forEach((panel, index) => {
        if (panel.folded !== (grid.dataset.folded === "1")) return;
        const box = element("div", { class: "plot", "data-panel": `${grid.dataset.figure}/${index}` });
        box.style.minHeight = `${panel.layout.height}px`;
        const { title } = report.figures[Number(grid.dataset.figure)];
        const told = panel.layout.title?.text || title;
        const named = () => `${report.figures[Number(grid.dataset.figure)].name}-${index + 1}`;
        grid.append(element("div", { class: "panel" }, box, element("p", { class: "saves" }, kit.figureButton(() => panel, named, told))));
        seen.observe(box);
      });
    }
    display.theme.listeners.push(() => {
      this.drawn.forEach((figure, box) => this.draw(box, figure));
      if (display.theme.printing) this.waiting().forEach((box) => this.draw(box, this.panelOf(box)));
    });
  },
};
