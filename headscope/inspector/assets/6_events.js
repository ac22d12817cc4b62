"use strict";
// Keys, clicks and changes.

headscope.events = {
  clicks: {
    read: () => headscope.readPrompt(),
    "remove-head": () => headscope.toggle(headscope.state.head),
    undo: () => headscope.undo(),
    restore: () => headscope.remove({ heads: [], ffns: [] }),
    "top-a": () => headscope.top("a"),
    "top-b": () => headscope.top("b"),
    "set-list": () => headscope.store("list-asked", { heads: headscope.value("heads-list"), ffns: headscope.value("ffns-list"), at: Date.now() }),
    "keep-set": () => headscope.sets.keep(),
    "ask-writers": () => headscope.questions.ask("writers"),
    "ask-patch": () => headscope.questions.ask("patch"),
    "ask-average": () => headscope.questions.ask("average"),
    "write-on": () => headscope.questions.ask("write"),
    share: () => headscope.events.share(),
  },

  async share() {
    const button = headscope.$("share");
    const { prompt } = headscope.state;
    const whole = headscope.address.prompt(prompt) || !prompt || prompt.kind === "stored";
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = whole ? "Copied" : "Copied, without the long prompt";
    } catch {
      button.textContent = "Copy it from the address bar";
    }
    setTimeout(() => { button.textContent = "Copy link"; }, 2500);
  },

  click(event) {
    const target = event.target.closest("button");
    if (!target || target.disabled) return;
    const data = target.dataset;
    if (this.clicks[target.id]) this.clicks[target.id]();
    else if (data.prompt) headscope.showFields(data.prompt);
    else if (data.vis) headscope.set({ vis: { kind: data.vis, start: Number(headscope.value("vis-window")) || 0 } });
    else if (data.grid) headscope.grid.turn(data.grid === "on");
    else if (data.patchAt) {
      headscope.questions.at = data.patchAt;
      headscope.press("patch-at", data.patchAt);
    } else if (data.ablation) headscope.remove({ ablation: data.ablation });
    else if (data.chip) headscope.putBack(data.chip);
    else if (data.csv) headscope.store("csv", { what: data.csv, head: headscope.state.head, at: Date.now() });
    else if (data.plot) headscope.picture.save(data.plot, data.kind);
  },

  change(event) {
    const { target } = event;
    const { state } = headscope;
    const number = () => Number(target.value);
    const changes = {
      "after-box": () => headscope.showAfter(target.checked),
      "toward-box": () => headscope.set({ toward: target.checked }),
      "named-set": () => headscope.sets.remove(target.value),
      "score-a": () => headscope.set({ pair: [target.value, state.pair[1]] }),
      "score-b": () => headscope.set({ pair: [state.pair[0], target.value] }),
      "window-queries": () => headscope.set({ window: [number(), state.window[1]] }),
      "window-keys": () => headscope.set({ window: [state.window[0], number()] }),
      "vis-window": () => headscope.set({ vis: { ...state.vis, start: number() } }),
      "stored-name": () => headscope.set({ "stored-choice": [target.value, 0] }),
      "stored-panel": () => headscope.set({ "stored-choice": [headscope.stored.shown.choice[0], number()] }),
    };
    if (changes[target.id]) changes[target.id]();
  },

  /** Delete takes the selected head out or puts it back, Ctrl+Z undoes; while a person types, both are the field's. */
  removalKey(event) {
    const { target } = event;
    if (!headscope.facts?.live || target.closest("input:not([type=checkbox]), textarea, select")) return false;
    const undo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
    const remove = ["Delete", "Backspace"].includes(event.key) && target.closest("#heads");
    if (undo) headscope.undo();
    else if (remove) headscope.toggle(headscope.state.head);
    return undo || remove;
  },

  /** Arrows move the selection from within the heads' section, the pictures and the mosaics of another run; sideways also when nothing has the focus. */
  key(event) {
    const { target } = event;
    if (event.key === "Enter" && target.closest("#prompt-panel") && (target.id !== "own-text" || event.ctrlKey || event.metaKey) && target.tagName !== "BUTTON") {
      event.preventDefault();
      return headscope.readPrompt();
    }
    if (event.key === "Enter" && ["writers-answer", "writers-other"].includes(target.id)) return this.clicks["ask-writers"]();
    if (event.key === "Enter" && target.id === "patch-corrupt") return this.clicks["ask-patch"]();
    if (event.key === "Enter" && target.id === "set-name") return this.clicks["keep-set"]();
    if (event.key === "Enter" && target.id === "write-count") return this.clicks["write-on"]();
    if (event.key === "Enter" && ["heads-list", "ffns-list"].includes(target.id)) return this.clicks["set-list"]();
    if (this.removalKey(event)) return event.preventDefault();
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return undefined;
    if (target.closest("select, input, textarea, .scroll")) return undefined;
    if (!target.closest("#heads, [data-picture], #beside-panel .focusable") && !(target === document.body && move[0] === 0)) return undefined;
    event.preventDefault();
    return headscope.move(...move);
  },

  start() {
    document.addEventListener("click", (event) => this.click(event));
    document.addEventListener("change", (event) => this.change(event));
    document.addEventListener("keydown", (event) => this.key(event));
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth === width) return; // phones resize when their bars come and go
      width = innerWidth;
      clearTimeout(this.resized);
      this.resized = setTimeout(() => headscope.store("width", width), 150);
    });
    addEventListener("hashchange", () => headscope.begin(headscope.facts));
  },
};
