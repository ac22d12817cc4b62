"use strict";
// Panels that ask the model when a person wants it: their answers are marked when what was asked no longer holds.

headscope.questions = {
  PANELS: {
    write: { store: "write-asked", filled: "written", asks: ["prompt", "query", "removal"], own: () => ({ count: headscope.value("write-count") }) },
    writers: { store: "writers-asked", filled: "writers", asks: ["prompt", "query", "removal"], own: () => headscope.questions.answer() },
    patch: { store: "patch-asked", filled: "patch", asks: ["prompt", "query"], own: () => ({ ...headscope.questions.answer(), corrupt: headscope.value("patch-corrupt"), at: headscope.questions.at }) },
    average: { store: "average-asked", filled: "average", asks: ["removal", "head"], own: () => ({ prompt: headscope.reading.prompt, count: headscope.value("average-count"), lines: headscope.value("average-lines") }) },
    grid: { store: "grid-asked", filled: "grid", asks: ["prompt", "removal"], own: () => ({}) },
  },
  at: "last", // where another prompt is patched
  asked: {}, // what each panel asked last

  answer: () => ({ answer: headscope.value("writers-answer"), other: headscope.value("writers-other") }),

  /** A mosaic of what was asked, with what is removed crossed out; nothing where it was refused. */
  mosaic(id, score) {
    const { scores, state } = headscope;
    const sizes = scores ?? new display.Scores({ layers: headscope.facts.layers, heads: headscope.facts.heads, entries: [], classes: null });
    const figure = display.mosaic.figure(sizes, score, { told: [score], selected: sizes.placeOf(state.head), removed: state.removal.heads.map((head) => sizes.placeOf(head)) });
    headscope.$(id).style.height = `${figure.layout.height}px`;
    return figure;
  },

  /** The parts of the state that a panel's answer depends on; lines: prompts of a person's own, in the place of the task. */
  present(name, { lines } = {}) {
    const { state, reading } = headscope;
    const { kind, task, shots } = reading?.prompt ?? {};
    const parts = {
      prompt: reading?.prompt, key: reading?.key, query: state.query ?? null, removal: state.removal, head: state.head,
      task: kind === "task" ? { task, shots } : null, // any of its documents will do
    };
    const more = name === "average" ? (lines?.trim() ? [] : ["task"]) : ["key"];
    return Object.fromEntries([...this.PANELS[name].asks, ...more].map((part) => [part, parts[part]]));
  },

  ask(name) {
    if (!headscope.reading) return headscope.refuse("No prompt has been read yet.");
    const { store, filled } = this.PANELS[name];
    const own = this.PANELS[name].own();
    const problem = headscope.$(`${name === "write" ? "written" : name}-problem`);
    if (problem) problem.textContent = "";
    this.asked[name] = { ...this.present(name, own), ...own, time: Date.now() };
    headscope.store(store, this.asked[name]);
    headscope.head.stale([filled], true);
    return headscope.watch();
  },

  /** Whether this is the answer to what was asked last; it then replaces what stood there. */
  hear(name, made) {
    if (!made || made.asked.time !== this.asked[name]?.time) return false;
    headscope.head.stale([this.PANELS[name].filled], false);
    this.mark();
    return true;
  },

  /** An answer to what no longer stands is marked; it is asked again where a person wants it. */
  mark() {
    for (const [name, { filled }] of Object.entries(this.PANELS)) {
      const asked = this.asked[name];
      if (!asked) continue;
      const present = this.present(name, asked);
      const same = Object.keys(present).every((part) => JSON.stringify(present[part]) === JSON.stringify(asked[part]));
      headscope.$(filled)?.classList.toggle("outdated", !same);
    }
  },
};
