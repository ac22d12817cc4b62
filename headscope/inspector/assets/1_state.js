"use strict";
// What a person has chosen lives here and in the address, never on the server; each change goes into the stores that
// callbacks listen to.

const headscope = {
  facts: null, // of the model and the run: sizes, names of scores, defaults, palettes
  scores: null, // every score of every head
  card: null,
  state: {},
  past: [], // removals, for undo
  booted: false,
  reading: null, // the prompt that was read last
  $: display.$,

  /** Set properties of a component, if the page has it: without a model some are not there. */
  props(id, values) {
    if (this.$(id)) dash_clientside.set_props(id, values);
  },

  /** Put a value into a store, which calls whoever listens. */
  store(id, data) {
    dash_clientside.set_props(id, { data });
  },

  /** Change parts of the state, tell the server's callbacks and the address. */
  set(changes) {
    const changed = new Set();
    for (const [name, value] of Object.entries(changes)) {
      if (JSON.stringify(this.state[name]) === JSON.stringify(value)) continue;
      changed.add(name);
      this.state[name] = value;
      // Of these the server hears by `after`, and with all that is asked about the head.
      if (!["showAfter", "head", "sets", "toward"].includes(name)) this.store(name, value);
      if (name === "removal") {
        this.drawRemoved();
        this.head.stale([...(this.reading ? this.head.OUTCOMES : []), "learning", "line-learning", "brief-learning"], true);
      }
      if (name === "head") this.head.selected();
      if (name === "stored-choice") this.stored.waits();
      if (["prompt", "removal", "after", "vis"].includes(name)) this.watch();
      if (["removal", "after"].includes(name)) this.markAfter();
    }
    if (["head", "after", "window"].some((name) => changed.has(name))) this.head.ask();
    else if (changed.has("query") || changed.has("toward")) this.strip.ask();
    if (changed.has("vis")) this.head.askDrawing();
    this.questions.mark();
    this.grid.follow(changed);
    this.address.write();
    this.mark();
  },

  /** Ask the server for progress until it has none to tell. */
  watch() {
    dash_clientside.set_props("poll", { disabled: false });
  },

  /** Removals can be undone. */
  remove(change) {
    const next = { ...this.state.removal, ...change };
    if (JSON.stringify(next) === JSON.stringify(this.state.removal)) return;
    this.past.push(this.state.removal);
    this.props("removal-problem", { children: "" });
    this.set({ removal: next });
  },

  undo() {
    if (this.past.length) this.set({ removal: this.past.pop() });
  },

  /** Take a head out, or back in. */
  toggle(head) {
    const kept = this.state.removal.heads.filter(([layer, number]) => layer !== head[0] || number !== head[1]);
    const heads = kept.length < this.state.removal.heads.length ? kept : [...kept, head].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    this.remove({ heads });
  },

  isRemoved(head) {
    return this.state.removal.heads.some(([layer, number]) => layer === head[0] && number === head[1]);
  },

  empty(removal) {
    return !removal.heads.length && !removal.ffns.length;
  },

  /** The attention panel shows the model after removal where that was asked for. */
  markAfter() {
    const wanted = this.state.showAfter && !this.empty(this.state.removal) ? this.state.removal : null;
    if (JSON.stringify(this.state.after) !== JSON.stringify(wanted)) this.set({ after: wanted });
  },

  showAfter(so) {
    this.state.showAfter = so;
    this.markAfter();
    this.address.write();
  },

  inside(head) {
    return Array.isArray(head) && head.length === 2 && head.every(Number.isInteger) && head[0] >= 0 && head[1] >= 0
      && head[0] < this.facts.layers && head[1] < this.facts.heads;
  },

  select(head) {
    if (!this.inside(head)) return;
    this.picked = true;
    this.set({ head });
  },

  move(layers, heads) {
    const [layer, head] = this.state.head;
    this.select([layer + layers, head + heads]);
  },

  /** The state that the address and the server's defaults give. */
  begin(facts) {
    this.facts = facts;
    const asked = this.address.read();
    const known = (name, other) => (facts.scores.includes(name) ? name : other);
    const removal = {
      heads: facts.live ? asked.heads.filter((head) => this.inside(head)) : [],
      ffns: facts.live ? asked.ffns.filter((layer) => layer < facts.layers) : [],
      ablation: asked.ablation,
    };
    this.state = {};
    this.past = [];
    this.wanted = [asked.a, asked.b]; // scores that may come
    this.picked = this.inside(asked.head);
    this.address.note([this.address.keep(facts.live), this.address.unknown(asked, facts)]);
    const foreign = Boolean(this.address.kept.prompt); // positions are those of a prompt that is not here
    this.set({
      head: this.picked ? asked.head : facts.head,
      pair: [known(asked.a, facts.pair[0]), known(asked.b, facts.pair[1])],
      prompt: facts.live ? asked.prompt || facts.prompt : facts.prompt,
      query: foreign ? null : asked.query,
      removal,
      window: foreign ? [0, 0] : asked.window,
      vis: foreign ? { ...asked.vis, start: 0 } : asked.vis,
      showAfter: facts.live && asked.after,
      "stored-choice": asked.figure,
      sets: this.sets.read(asked.sets, facts).sets,
      toward: asked.toward,
    });
    this.fillControls();
  },

  /** Scores have come in: what a person has chosen stays. */
  rescored(facts) {
    this.facts = facts;
    const known = (name) => facts.scores.includes(name);
    const pair = this.state.pair.map((name, at) => [name, this.wanted[at], facts.pair[at]].find(known) ?? facts.pair[at]);
    this.set({ pair, head: this.picked ? this.state.head : facts.head });
    this.sets.draw();
  },

  /** The scores themselves: mosaics and card are drawn from them. */
  async fetchScores(version) {
    try {
      const scores = new display.Scores(await (await fetch(`/scores/${version}.json`)).json());
      if (version !== this.version || !scores.size) return; // overtaken, or a run without a score of a head
      this.scores = scores;
      this.drawCard();
      display.mosaic.legend(scores, this.$("legend"));
      this.store("scored", version);
      await this.beside.fetch(version);
    } catch (error) {
      this.head.text("defect", `The scores could not be fetched: is the program still running? (${error.message})`);
    }
  },

  /** The card, with the tasks of the second mosaic's score folded out. */
  drawCard() {
    const beside = this.scores.entries.find(({ id }) => id === this.state.pair[1]);
    this.card = new display.Card(this.scores, { open: beside?.task ? beside.group : "" });
    this.card.update(this.scores.placeOf(this.state.head));
    this.mark();
  },
};
headscope.state.showAfter = false;
