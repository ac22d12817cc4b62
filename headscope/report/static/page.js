"use strict";
// What every script of the report uses: its data, the selected head, how wide a figure is on paper.

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

const paper = {
  PAGE: 670, // pixels of a printed page's width
  /** A figure's width as a share of the page; on the screen, figures take the width they find. */
  width: (share) => (display.theme.printing ? { width: paper.PAGE * share } : {}),
  start() {
    for (const [name, printing] of [["beforeprint", true], ["afterprint", false]]) {
      addEventListener(name, () => {
        display.theme.printing = printing;
        display.theme.changed();
      });
    }
  },
};
