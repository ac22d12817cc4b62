"use strict";
// The selected head's card, pairs, strip and titles, as plain DOM: Dash tells every component on the page of each change.

headscope.head = {
  shown: null,

  text(id, text) {
    headscope.$(id).textContent = text;
  },

  show(made) {
    this.shown = made;
    this.card(made.card);
    if (made.attention) this.attention(made.attention);
  },

  card(told) {
    this.text("card-title", told.title);
    this.text("card-class", told.class);
    headscope.$("card-class").className = told.class ? `badge ${told.class.replaceAll(" ", "-")}` : "";
    this.text("card-group", told.group);
    headscope.tree.fill("card-scores", told.scores);
  },

  attention(told) {
    this.text("attention-problem", told.problem);
    this.text("attention-title", told.title || "Attention");
    this.text("attention-note", told.note || "");
    this.text("strip-title", told.strip || "");
    headscope.tree.fill("pairs", told.pairs || []);
    headscope.strip.row = told.row || null;
    headscope.strip.draw(headscope.strip.reading);
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
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      headscope.store("resting", headscope.state.head);
      headscope.watch();
    }, 250);
  },
};
