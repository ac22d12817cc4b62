"use strict";
// What every script of the report uses: its data and the selected head.

const { $, element, known } = display;
const report = JSON.parse($("report-data").textContent);
const scores = new display.Scores(report.scores);

const selection = {
  place: 0,
  listeners: [],
  choose(place) {
    if (place < 0 || place >= scores.size || place === this.place) return;
    this.place = place;
    this.listeners.forEach((listener) => listener());
    page.remember();
  },
  move(layers, heads) {
    const [layer, head] = scores.headAt(this.place);
    const next = [layer + layers, head + heads];
    if (next[0] >= 0 && next[0] < scores.layers && next[1] >= 0 && next[1] < scores.heads) this.choose(scores.placeOf(next));
  },
};
