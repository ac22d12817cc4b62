"use strict";
// The selected head's card, pairs, strip and titles, as plain DOM: Dash tells every component on the page of each change.

headscope.head = {
  shown: null, // the last answer about attention that was shown
  carded: null, // the head that the card shows

  text(id, text) {
    headscope.$(id).textContent = text;
  },

  /** Panels that still show what was asked for before; they pale when that lasts. */
  stale(ids, so) {
    ids.forEach((id) => headscope.$(id)?.classList.toggle("stale", so));
  },

  /** All that an answer depends on. Answers say it again and count only while it holds: they may overtake each other. */
  asked() {
    const { head, after, window: part, query } = headscope.state;
    const { key, prompt } = headscope.reading;
    return { head, key, after: after || null, window: part, query: query ?? null, prompt };
  },

  holds(asked, names) {
    const present = headscope.reading ? this.asked() : {};
    return names.every((name) => JSON.stringify(asked[name]) === JSON.stringify(present[name]));
  },

  /** Ask for everything about the head. Its card waits neither for the prompt nor for the model. */
  ask() {
    this.askCard();
    if (!headscope.reading) return;
    this.stale(["attention-panel", "pairs-panel", "strip-panel"], true);
    headscope.store("look", this.asked());
    this.askDrawing();
  },

  /** CircuitsVis is asked only while it is on, and once when it goes off. */
  askDrawing() {
    const { vis } = headscope.state;
    const off = !vis || vis.kind === "off" || !headscope.reading;
    if (off && this.off) return;
    this.off = off;
    headscope.store("drawing", off ? null : { ...this.asked(), vis });
  },

  async askCard() {
    const wanted = `${headscope.version}/${headscope.state.head.join("/")}`;
    if (wanted === this.wanted) return;
    this.wanted = wanted;
    try {
      const told = await (await fetch(`/card/${wanted}`)).json();
      if (wanted !== this.wanted) return;
      this.card(told);
      if (this.failed) this.text("defect", "");
      this.failed = false;
    } catch (error) {
      if (wanted !== this.wanted) return;
      this.wanted = null;
      this.failed = true;
      this.text("defect", `The card of the head could not be had: is the program still running? (${error.message})`);
    }
  },

  card(told) {
    this.carded = told.head;
    this.text("card-title", told.title);
    this.text("card-class", told.class);
    headscope.$("card-class").className = told.class ? `badge ${told.class.replaceAll(" ", "-")}` : "";
    this.text("card-group", told.group);
    headscope.tree.fill("card-scores", told.scores);
    headscope.mark();
  },

  /** Whether an answer is shown: not when it comes too late. */
  hear(made) {
    if (!this.holds(made.asked, ["head", "key", "after", "window"])) return false;
    this.shown = made;
    this.attention(made);
    return true;
  },

  attention({ asked, attention: told }) {
    this.stale(["attention-panel", "pairs-panel"], false);
    this.text("attention-problem", told.problem);
    this.text("attention-title", told.title);
    this.text("pairs-title", told.pairs_title);
    this.text("attention-note", told.note || "");
    headscope.tree.fill("pairs", told.pairs || []);
    headscope.strip.hear({ asked, row: told.row || null });
  },

  /** The frame alone: drawing a whole mosaic again would keep a person waiting. */
  frame() {
    for (const letter of "ab") {
      const plot = document.querySelector(`#mosaic-${letter} .js-plotly-plot`);
      if (plot && plot._fullLayout && window.Plotly) window.Plotly.relayout(plot, { shapes: headscope.theme.framed() });
    }
  },

  /** What takes longer is asked for when the selection has stayed for a moment. */
  selected() {
    requestAnimationFrame(() => setTimeout(() => this.frame()));
    this.stale(["copies-panel"], true);
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      headscope.store("resting", headscope.state.head);
      headscope.watch();
    }, 250);
  },
};
