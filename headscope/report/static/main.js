"use strict";
// The selected head, the keys that move it, and the part of the address that remembers it.

const selection = {
  place: 0,
  listeners: [],
  choose(place) {
    if (place < 0 || place >= report.layers * report.heads || place === this.place) return;
    this.place = place;
    this.listeners.forEach((listener) => listener());
    page.remember();
  },
  move(layers, heads) {
    const [layer, head] = [Math.floor(this.place / report.heads) + layers, (this.place % report.heads) + heads];
    if (layer >= 0 && layer < report.layers && head >= 0 && head < report.heads) this.choose(layer * report.heads + head);
  },
};

const page = {
  remember() {
    const score = report.scores[mosaic.score].id;
    history.replaceState(null, "", `#head=${headName(selection.place)}&score=${encodeURIComponent(score)}`);
  },
  /** The head and the score that the address names, else the strongest head of the first score. */
  recall() {
    const told = new URLSearchParams(location.hash.slice(1));
    const named = /^(\d+)\.(\d+)$/.exec(told.get("head") || "");
    const score = report.scores.findIndex(({ id }) => id === told.get("score"));
    mosaic.score = Math.max(0, score);
    const { mean } = report.scores[0];
    const best = mean.reduce((at, value, place) => (known(value) && (!known(mean[at]) || value > mean[at]) ? place : at), 0);
    const inside = named && Number(named[1]) < report.layers && Number(named[2]) < report.heads;
    selection.place = inside ? Number(named[1]) * report.heads + Number(named[2]) : best;
  },
  /** Arrows move the selection from within the heads' section; sideways also when nothing has the focus. */
  key(event) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const { target } = event;
    if (target.closest("select, input, textarea, .scroll")) return;
    if (!target.closest("#heads") && !(target === document.body && move[0] === 0)) return;
    event.preventDefault();
    selection.move(...move);
  },
  start() {
    theme.start();
    if (report.scores.length) {
      this.recall();
      mosaic.start();
      $("score").value = String(mosaic.score);
      card.start();
      if (report.attention) attention.start();
      table.start();
      document.addEventListener("keydown", (event) => this.key(event));
      addEventListener("hashchange", () => { this.recall(); mosaic.show(mosaic.score); selection.listeners.forEach((listener) => listener()); });
    }
    if (report.figures.length) figures.start();
    document.documentElement.dataset.ready = "yes";
  },
};

page.start();
