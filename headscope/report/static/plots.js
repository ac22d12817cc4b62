"use strict";
// Figures from Python: drawn at once or when they are unfolded, and again when the theme changes.

const { $ } = display;
const { theme, figures, pairs = [] } = JSON.parse($("page-data").textContent);

function drawn(figure, box) {
  const { data, layout } = display.theme.dressed(figure);
  const touch = display.TOUCH ? { dragmode: false } : {};
  Plotly.react(box, data, { ...layout, ...touch, ...display.theme.width(box.closest(".plots") ? 0.48 : 1), autosize: true }, display.PLOT_OPTIONS);
}

/** Those of folded parts once they are opened: before that they have no width. */
function draw() {
  figures.forEach((figure, index) => drawn(figure, $(`plot-${index}`)));
  for (const box of document.querySelectorAll("details[open] [data-pair]")) {
    const [score, figure] = box.dataset.pair.split("/").map(Number);
    drawn(pairs[score][figure], box);
  }
}

display.theme.start(theme, $("theme"));
display.theme.listeners.push(draw);
draw();
for (const part of document.querySelectorAll("#pair details")) part.addEventListener("toggle", draw);
document.documentElement.dataset.ready = "yes";
