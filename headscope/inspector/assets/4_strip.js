"use strict";
// The prompt's tokens: which one is chosen, and the attention that it pays.

headscope.strip = {
  key: "", // of the prompt whose tokens stand there
  heard: null, // the last answer to the choice of a token
  row: null, // the attention of one token, with what was asked for it

  /** Another token of the same head; it is framed at once, and shaded when its row is there. */
  ask() {
    if (!headscope.reading) return;
    headscope.head.stale(["strip-panel"], true);
    headscope.store("row-asked", headscope.head.asked());
    this.draw();
  },

  /** A row that comes too late is another head's, another token's, or of another prompt or removal. */
  hear({ asked, row }) {
    if (!headscope.head.holds(asked, ["head", "key", "after", "query", "toward"])) return;
    headscope.head.stale(["strip-panel"], false);
    this.row = { asked, values: row };
    this.draw();
  },

  draw() {
    const { reading, state } = headscope;
    this.tokens ??= new display.Tokens(headscope.$("strip"), (query) => headscope.set({ query }));
    if (!reading) return;
    if (reading.key !== this.key) {
      this.row = null;
      this.tokens.build(reading);
      this.key = reading.key;
    }
    const query = Math.min(state.query ?? Infinity, reading.tokens.length - 1);
    const values = this.row && this.row.asked.query === (state.query ?? null) && this.row.asked.toward === Boolean(state.toward) ? this.row.values : null;
    this.tokens.shade(values, query, Boolean(state.toward));
    headscope.head.text("strip-title", this.title());
    if (`${reading.key}/${query}` !== this.revealed) this.tokens.reveal();
    this.revealed = `${reading.key}/${query}`;
  },

  title() {
    if (!this.row) return "The prompt";
    const { head, after, toward } = this.row.asked;
    return `${toward ? `Who looks at the framed token through head ${head.join(".")}` : `What head ${head.join(".")} looks at`}${after ? " after removal" : ""}`;
  },
};
