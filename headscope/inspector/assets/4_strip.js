"use strict";
// The prompt's tokens, shaded by the attention that one of them pays.

headscope.strip = {
  key: "",
  reading: null,
  row: null, // the attention of the chosen token
  found: null, // the last answer to the choice of a token

  /** A token as it is, but for characters that have no shape of their own (as interp/view.py shows them). */
  shown(token) {
    return token
      .replace(/\r\n|\n/g, "⏎").replace(/\t/g, "⇥")
      .replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
      .replace(/[\u200b-\u200f\u061c\u2028-\u202e\u2060-\u2069\ufeff]/g, (c) => `U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  },

  /** A row that comes too late is another head's. */
  hear(found) {
    this.found = found;
    if (String(found.head) === String(headscope.state.head)) this.row = found.row;
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

  draw(reading) {
    this.reading = reading;
    if (!reading) return headscope.$("strip").replaceChildren();
    const key = `${reading.key}/${reading.tokens.length}`;
    if (key !== this.key) this.row = null;
    if (key !== this.key || !headscope.$("strip").childElementCount) this.build(reading);
    this.key = key;
    const { row } = this;
    const query = Math.min(headscope.state.query ?? Infinity, reading.tokens.length - 1);
    if (row && row.length === reading.tokens.length) this.shade(row, query);
    return undefined;
  },
};
