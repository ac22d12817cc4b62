"use strict";
// The prompt's tokens, shaded by the attention that one of them pays.

headscope.strip = {
  key: "",
  heard: null, // the last answer to the choice of a token
  row: null, // the attention of one token, with what was asked for it

  /** A token as it is, but for characters that have no shape of their own (as interp/view.py shows them). */
  shown(token) {
    return token
      .replace(/\r\n|\n/g, "⏎").replace(/\t/g, "⇥")
      .replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
      .replace(/[\u200b-\u200f\u061c\u2028-\u202e\u2060-\u2069\ufeff]/g, (c) => `U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  },

  /** Another token of the same head; it is framed at once, and shaded when its row is there. */
  ask() {
    if (!headscope.reading) return;
    headscope.head.stale(["strip-panel"], true);
    headscope.store("row-asked", headscope.head.asked());
    this.draw();
  },

  /** A row that comes too late is another head's, another token's, or of another prompt or removal. */
  hear({ asked, row }) {
    if (!headscope.head.holds(asked, ["head", "key", "after", "query"])) return;
    headscope.head.stale(["strip-panel"], false);
    this.row = { asked, values: row };
    this.draw();
  },

  build(reading) {
    const made = [];
    reading.tokens.forEach((token, place) => {
      if (place && reading.blocks.includes(place)) made.push(Object.assign(document.createElement("span"), { className: "break" }));
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.dataset.token = String(place);
      const text = document.createElement("bdi");
      text.textContent = this.shown(token) || " ";
      if (reading.target !== null && place >= reading.target) button.classList.add("target");
      button.append(text);
      made.push(button);
    });
    headscope.$("strip").replaceChildren(...made);
  },

  shade(row, query) {
    const stops = headscope.theme.stops();
    const { theme } = headscope;
    headscope.$("strip").querySelectorAll("button").forEach((token, place) => {
      const value = row[place] ?? 0;
      const step = Math.min(stops.length - 1, Math.round(Math.sqrt(value) * (stops.length - 1)));
      token.style.backgroundColor = stops[step];
      token.style.color = step >= stops.length / 2 ? theme.colour("paper") : theme.colour("ink");
      token.classList.toggle("after", place > query);
      token.setAttribute("aria-pressed", String(place === query));
      token.title = place > query ? String(place) : `${place}: attention ${value.toFixed(3)}`;
    });
  },

  unshade(query) {
    headscope.$("strip").querySelectorAll("button").forEach((token, place) => {
      token.style.backgroundColor = token.style.color = "";
      token.classList.toggle("after", place > query);
      token.setAttribute("aria-pressed", String(place === query));
      token.title = String(place);
    });
  },

  /** The framed token stays in sight, within the strip's own box. */
  reveal() {
    const box = headscope.$("strip");
    const token = box.querySelector("[aria-pressed=true]");
    if (!token) return;
    const [outer, inner] = [box, token].map((one) => one.getBoundingClientRect());
    if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
  },

  draw() {
    const { reading } = headscope;
    if (!reading) return headscope.$("strip").replaceChildren();
    if (reading.key !== this.key) {
      this.row = null;
      this.build(reading);
      this.key = reading.key;
    }
    const query = Math.min(headscope.state.query ?? Infinity, reading.tokens.length - 1);
    const values = this.row && this.row.asked.query === (headscope.state.query ?? null) ? this.row.values : null;
    if (values && values.length === reading.tokens.length) this.shade(values, query);
    else this.unshade(query);
    headscope.head.text("strip-title", this.title());
    if (`${reading.key}/${query}` !== this.revealed) this.reveal();
    this.revealed = `${reading.key}/${query}`;
    return undefined;
  },

  title() {
    if (!this.row) return "The prompt";
    const { head, after } = this.row.asked;
    return `What head ${head.join(".")} looks at${after ? " after removal" : ""}`;
  },
};
