"use strict";
// What is about the selected head: its card at once, its attention, pairs and strip when the server has answered.

headscope.head = {
  OUTCOMES: ["next", "loss", "changes", "line-next", "brief-next"], // of a removal on the prompt
  shown: null, // the last answer about attention that was shown

  text(id, text) {
    headscope.$(id).textContent = text;
  },

  /** Panels that still show what was asked for before; they pale when that lasts. */
  stale(ids, so) {
    ids.forEach((id) => headscope.$(id)?.classList.toggle("stale", so));
  },

  /** All that an answer depends on. Answers say it again and count only while it holds: they may overtake each other. */
  asked() {
    const { head, after, window: part, query, toward } = headscope.state;
    const { key, prompt } = headscope.reading;
    return { head, key, after: after || null, window: part, query: query ?? null, toward: Boolean(toward), prompt };
  },

  holds(asked, names) {
    const present = headscope.reading ? this.asked() : {};
    return names.every((name) => JSON.stringify(asked[name]) === JSON.stringify(present[name]));
  },

  /** Ask for what the model must say about the head on the prompt. */
  ask() {
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

  /** Whether an answer is shown: not when it comes too late. */
  hear(made) {
    if (!this.holds(made.asked, ["head", "key", "after", "window"])) return false;
    this.shown = made;
    this.attention(made);
    return true;
  },

  attention({ asked, attention: answer }) {
    this.stale(["attention-panel", "pairs-panel"], false);
    this.text("attention-problem", answer.problem);
    this.text("attention-title", answer.title);
    this.text("pairs-title", answer.pairs_title);
    this.text("attention-note", answer.note || "");
    headscope.tree.fill("pairs", answer.pairs || []);
    headscope.strip.hear({ asked, row: answer.row || null });
  },

  /** The frame alone: drawing a whole mosaic again would keep a person waiting. */
  frame() {
    const { scores, state } = headscope;
    const letters = ["a", "b", ...(headscope.beside.made?.alike ? ["beside", "change"] : [])];
    for (const letter of letters) {
      const plot = document.querySelector(`#mosaic-${letter} .js-plotly-plot`);
      if (plot?._fullLayout && window.Plotly) window.Plotly.relayout(plot, { shapes: [display.mosaic.frame(scores, scores.placeOf(state.head))] });
    }
  },

  /** The card is there at once; what takes longer is asked for when the selection has stayed for a moment. */
  selected() {
    const { card, scores, state } = headscope;
    if (card) {
      card.update(scores.placeOf(state.head));
      requestAnimationFrame(() => setTimeout(() => this.frame()));
    }
    this.stale(["copies-panel"], true);
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      headscope.store("resting", state.head);
      headscope.watch();
    }, 250);
  },

  /** No axes and no lines, where there is nothing to show. */
  blank() {
    const nothing = "rgba(0,0,0,0)";
    return { data: [], layout: { xaxis: { visible: false }, yaxis: { visible: false }, paper_bgcolor: nothing, plot_bgcolor: nothing } };
  },
};
