"use strict";
// Controls of the page: what they show follows the state, what is done to them changes it.

Object.assign(headscope, {
  /** A native box before the words of every label that wants one. */
  drawTicks() {
    for (const label of document.querySelectorAll("[data-tick]")) {
      label.prepend(display.element("input", { type: "checkbox", id: label.dataset.tick, autocomplete: "off" }));
    }
  },

  field(id, value) {
    this.props(id, { value: String(value) });
  },

  press(name, chosen) {
    document.querySelectorAll(`[data-${name}]`).forEach((button) => button.setAttribute("aria-pressed", String(button.getAttribute(`data-${name}`) === chosen)));
  },

  /** The fields of the kind of prompt that is being edited. */
  showFields(kind) {
    this.editing = kind;
    this.press("prompt", kind);
    document.querySelectorAll("[data-fields]").forEach((fields) => { fields.hidden = fields.dataset.fields !== kind; });
  },

  /** Everything that follows the state at once. */
  mark() {
    const { head, pair, removal, vis } = this.state;
    if (!pair || !removal) return;
    pair.forEach((name, at) => { const select = this.$(`score-${"ab"[at]}`); if (select && select.value !== name) select.value = name; });
    if (this.card) this.card.mark(pair[0]);
    if (vis) {
      this.press("vis", vis.kind);
      this.$("vis-panel").dataset.kind = vis.kind;
    }
    this.press("ablation", removal.ablation);
    const button = this.$("remove-head");
    button.hidden = !this.facts.live;
    button.textContent = `${this.isRemoved(head) ? "Put back" : "Remove"} ${head.join(".")}`;
    this.$("after-label").hidden = this.empty(removal);
  },

  /** Once, from the address. */
  fillControls() {
    const { prompt, removal } = this.state;
    this.showFields(prompt ? prompt.kind : "");
    for (const [name, value] of Object.entries(prompt || {})) {
      if (name === "text") this.field("own-text", value);
      else if (name === "task" && this.$("task-name")) this.$("task-name").value = value;
      else if (name !== "kind") this.field(`${prompt.kind}-${name}`, value);
    }
    this.$("after-box").checked = this.state.showAfter;
    this.$("toward-box").checked = this.state.toward;
    this.press("grid", this.grid.on ? "on" : "off");
    this.press("patch-at", this.questions.at);
    this.markAfter();
    this.drawRemoved();
    this.sets.draw();
    if (this.$("heads-list")) this.fillLists(removal);
  },

  fillLists(removal) {
    this.field("heads-list", headscope.removed.groups(removal.heads).join(", "));
    this.field("ffns-list", headscope.removed.ranges(removal.ffns).join(", "));
  },

  /** What is removed, each with a way back. */
  drawRemoved() {
    const box = this.$("removed");
    if (!box) return;
    const { removal } = this.state;
    const chip = (text, name) => display.element("button", { type: "button", class: "chip", title: "Put back", "data-chip": name }, text);
    const chips = [...headscope.removed.groups(removal.heads).map((name) => chip(name, `h${name}`)), ...removal.ffns.map((layer) => chip(`FFN ${layer}`, `f${layer}`))];
    box.replaceChildren(...(chips.length ? chips : [display.element("span", { class: "note" }, "Nothing is removed.")]));
    const all = headscope.removed.told(removal);
    this.$("removal-line").hidden = this.$("brief-panel").hidden = this.empty(removal);
    this.head.text("line-removed", `${headscope.removed.brief(removal)}: `);
    this.head.text("brief-title", `Without ${all.join(", ")}, by ${removal.ablation}`);
    this.props("undo", { disabled: !this.past.length });
    this.props("restore", { disabled: this.empty(removal) });
    this.fillLists(removal);
  },

  putBack(name) {
    const { heads, ffns } = this.state.removal;
    const [layer, number] = name.slice(1).split(".");
    if (name[0] === "h") this.remove({ heads: heads.filter((head) => head[0] !== Number(layer) || (number !== "*" && head[1] !== Number(number))) });
    else this.remove({ ffns: ffns.filter((layer) => `f${layer}` !== name) });
  },

  /** Why something could not be saved, for a while. */
  refuse(text) {
    this.props("download-problem", { children: text });
    clearTimeout(this.refusing);
    if (text) this.refusing = setTimeout(() => this.refuse(""), 12000);
  },

  value(id) {
    return this.$(id) ? this.$(id).value : "";
  },

  readPrompt() {
    const prompts = {
      text: () => ({ kind: "text", text: this.value("own-text") }),
      task: () => ({ kind: "task", task: this.value("task-name"), shots: this.value("task-shots"), document: this.value("task-document") }),
      repeated: () => ({ kind: "repeated", length: this.value("repeated-length"), repeats: this.value("repeated-repeats"), seed: this.value("repeated-seed") }),
      stored: () => ({ kind: "stored" }),
    };
    const prompt = prompts[this.editing]();
    for (const name of ["shots", "document", "length", "repeats", "seed"]) {
      if (/^\s*\d+\s*$/.test(prompt[name] ?? "")) prompt[name] = Number(prompt[name]);
    }
    this.state.prompt = null; // what was refused before can be read again
    this.set({ query: null, window: [0, 0], vis: { ...this.state.vis, start: 0 }, prompt });
  },

  /** The k heads with the highest values of a mosaic. */
  top(letter) {
    const score = this.scores?.entries.find(({ id }) => id === this.state.pair["ab".indexOf(letter)]);
    if (!score) return;
    const asked = this.value("top-k").trim();
    const most = this.scores.ranks(score).size;
    const right = /^\d+$/.test(asked) && Number(asked) >= 1 && Number(asked) <= most;
    this.props("removal-problem", { children: right ? "" : `Top “${asked}” is no whole number from 1 to ${most}: so many heads have this score.` });
    if (!right) return;
    const places = [...this.scores.ranks(score).keys()].slice(0, Number(asked));
    const heads = places.sort((a, b) => a - b).map((place) => this.scores.headAt(place));
    if (heads.length) this.remove({ heads });
  },

  /** Windows of a long prompt, for the heat map and for CircuitsVis. */
  fillWindows(length) {
    const fill = (id, size, step, chosen) => {
      const select = this.$(id);
      const last = Math.max(0, length - size);
      const starts = [...new Set([...Array.from({ length: Math.ceil(last / step) }, (_, k) => k * step), last])];
      select.replaceChildren(...starts.map((start) => display.element("option", { value: String(start) }, `${start} to ${Math.min(length, start + size) - 1}`)));
      const near = starts.reduce((best, start) => (Math.abs(start - chosen) < Math.abs(best - chosen) ? start : best), starts[0]);
      select.value = String(near);
    };
    this.$("window-row").hidden = length <= 96;
    fill("window-queries", 96, 48, this.state.window[0]);
    fill("window-keys", 96, 48, this.state.window[1]);
    this.$("vis-window-label").hidden = length <= 64;
    fill("vis-window", 64, 32, this.state.vis.start);
  },
});
