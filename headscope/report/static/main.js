"use strict";
// The page as a whole: what it opens on, the keys that move the selection, the part of the address that remembers it.

let card = null;

const page = {
  remember() {
    history.replaceState(null, "", `#head=${scores.headName(selection.place)}&score=${encodeURIComponent(mosaic.score.id)}`);
  },
  /** The head and the score that the address names, else the strongest head of the first score. */
  recall() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const named = /^(\d+)\.(\d+)$/.exec(asked.get("head") || "")?.slice(1).map(Number);
    mosaic.score = scores.entries.find(({ id }) => id === asked.get("score")) ?? scores.entries[0];
    const [best] = scores.ranks(scores.entries[0]).keys();
    const inside = named && named[0] < scores.layers && named[1] < scores.heads;
    selection.place = inside ? scores.placeOf(named) : best ?? 0;
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
    display.theme.start(report.theme, $("theme"));
    if (scores.entries.length) {
      this.recall();
      card = new display.Card(scores);
      card.update(selection.place);
      selection.listeners.push(() => card.update(selection.place));
      mosaic.start();
      if (report.attention) attention.start();
      table.start();
      document.addEventListener("keydown", (event) => this.key(event));
      addEventListener("hashchange", () => {
        this.recall();
        mosaic.show(mosaic.score);
        selection.listeners.forEach((listener) => listener());
      });
    }
    if (report.figures.length) figures.start();
    kit.start();
    document.documentElement.dataset.ready = "yes";
  },
};

page.start();
