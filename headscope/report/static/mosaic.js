"use strict";
// The mosaic of the report: which score it shows, and the head that is chosen in it.

const mosaic = {
  score: scores.entries[0],
  draw() {
    const size = display.theme.width(scores.wide ? 1 : 0.48);
    const { data, layout } = display.mosaic.figure(scores, this.score, { told: [this.score], selected: selection.place, ...size });
    return Plotly.react($("mosaic"), data, layout, display.PLOT_OPTIONS);
  },
  show(score) {
    this.score = score;
    $("score").value = score.id;
    $("meaning").textContent = score.meaning;
    card.mark(score.id);
    return this.draw();
  },
  start() {
    display.mosaic.options(scores, $("score"), this.score.id);
    display.mosaic.legend(scores, $("legend"));
    $("score").addEventListener("change", () => {
      this.show(scores.entries.find(({ id }) => id === $("score").value));
      page.remember();
    });
    if (scores.wide) document.querySelector(".panels").classList.add("wide-mosaic");
    this.show(this.score).then(() => {
      $("mosaic").on("plotly_click", (event) => {
        const { x, y } = event.points[0];
        selection.choose(scores.placeOf([y, x]));
        $("mosaic").focus({ preventScroll: true });
      });
    });
    display.theme.listeners.push(() => this.draw());
    selection.listeners.push(() => Plotly.relayout($("mosaic"), { shapes: [display.mosaic.frame(scores, selection.place)] }));
  },
};
