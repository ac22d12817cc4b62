"use strict";
// Figures of several runs: drawn at once, and again when the theme changes.

const { $ } = display;
const { theme, figures } = JSON.parse($("models-data").textContent);

function draw() {
  figures.forEach((figure, index) => {
    const { data, layout } = display.theme.dressed(figure);
    const touch = display.TOUCH ? { dragmode: false } : {};
    Plotly.react($(`plot-${index}`), data, { ...layout, ...touch, autosize: true }, display.PLOT_OPTIONS);
  });
}

display.theme.start(theme, $("theme"));
display.theme.listeners.push(draw);
draw();
document.documentElement.dataset.ready = "yes";
