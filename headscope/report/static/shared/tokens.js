"use strict";
// A prompt's tokens, shaded by the attention that one of them pays. One stop for the Tab key: arrows, Home and End move
// within, Enter or a click chooses.

display.Tokens = class {
  /** tokens: texts as they are shown; blocks: where a copy of a block begins; choose: called with a position. */
  constructor(box, choose) {
    Object.assign(this, { box, choose, options: [] });
    box.setAttribute("role", "listbox");
    box.setAttribute("aria-orientation", "horizontal");
    box.addEventListener("click", ({ target }) => {
      const option = target.closest("[role=option]");
      if (option) this.pick(this.options.indexOf(option));
    });
    box.addEventListener("keydown", (event) => this.key(event));
  }
  build({ tokens, blocks = [], target = null }) {
    const { element } = display;
    this.options = tokens.map((token, at) => element("span", { role: "option", "data-token": String(at), tabindex: "-1", class: target !== null && at >= target ? "target" : null }, element("bdi", {}, token)));
    this.box.replaceChildren(...this.options.flatMap((option, at) => (at && blocks.includes(at) ? [element("span", { class: "break", role: "presentation" }), option] : [option])));
    this.reach(0);
  }
  /** The one token that the Tab key stops at. */
  reach(at) {
    this.options.forEach((option, other) => { option.tabIndex = other === at ? 0 : -1; });
    this.at = at;
  }
  pick(at) {
    this.reach(at);
    this.options[at].focus({ preventScroll: true });
    this.choose(at);
  }
  key(event) {
    const last = this.options.length - 1;
    const next = { ArrowLeft: this.at - 1, ArrowRight: this.at + 1, ArrowUp: this.beside(-1), ArrowDown: this.beside(1), Home: 0, End: last }[event.key];
    const chosen = event.key === "Enter" || event.key === " ";
    if ((next === undefined && !chosen) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // arrows move the head everywhere else
    if (chosen) return void this.pick(this.at);
    this.reach(Math.max(0, Math.min(last, next)));
    this.options[this.at].focus();
  }
  /** The token nearest in the row above or below. */
  beside(way) {
    const { offsetTop: row, offsetLeft: left } = this.options[this.at];
    const rows = this.options.map((option, at) => ({ at, top: option.offsetTop, away: Math.abs(option.offsetLeft - left) }));
    const tops = rows.map(({ top }) => top).filter((top) => way * (top - row) > 0);
    if (!tops.length) return this.at;
    const nearest = way > 0 ? Math.min(...tops) : Math.max(...tops);
    return rows.filter(({ top }) => top === nearest).reduce((best, other) => (other.away < best.away ? other : best)).at;
  }

  /** values: the attention that token `query` pays, or with `toward` that others pay to it, as far as it is known. */
  shade(values, query, toward = false) {
    const { theme } = display;
    const stops = theme.stops(false);
    this.options.forEach((option, at) => {
      const seen = (toward ? at >= query : at <= query) && values && display.known(values[at]);
      const step = seen ? Math.min(stops.length - 1, Math.round(Math.sqrt(values[at]) * (stops.length - 1))) : 0;
      option.style.backgroundColor = seen ? stops[step] : "";
      option.style.color = seen ? display.readable(stops[step]) : "";
      option.classList.toggle("after", toward ? at < query : at > query);
      option.setAttribute("aria-selected", String(at === query));
      option.title = seen ? `${at}: attention ${values[at].toFixed(3)}` : String(at);
    });
    if (!this.box.contains(document.activeElement)) this.reach(query);
  }
  /** The chosen token stays in sight, within the box alone. */
  reveal() {
    const chosen = this.box.querySelector("[aria-selected=true]");
    if (!chosen) return;
    const [outer, inner] = [this.box, chosen].map((element) => element.getBoundingClientRect());
    if (inner.top < outer.top || inner.bottom > outer.bottom) this.box.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
  }
};

/** Black or white, whichever is read more easily on this colour (relative luminance as in WCAG 2.2). */
display.readable = (colour) => {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000000" : "#ffffff";
};
