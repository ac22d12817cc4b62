"use strict";
// A small picture of every head on the prompt, a canvas each; while they are on, they follow the prompt and the removal.

headscope.grid = {
  on: false,
  made: null,

  turn(on) {
    this.on = on;
    headscope.press("grid", on ? "on" : "off");
    if (on) headscope.questions.ask("grid");
    this.draw();
  },

  follow(changed) {
    if (!this.on || !headscope.reading) return;
    if (changed.has("prompt") || changed.has("removal")) headscope.questions.ask("grid");
    else if (changed.has("head")) this.frame();
  },

  draw() {
    const { made } = this;
    const shown = this.on && made;
    const held = document.activeElement?.dataset?.picture;
    headscope.head.text("grid-note", shown ? made.problem || made.note : "");
    headscope.$("grid").style.columnWidth = `${26 + 46 * headscope.facts.heads}px`; // layers side by side, where there is room
    headscope.$("grid").replaceChildren(...(shown && !made.problem ? made.layers.map((layer) => this.row(layer)) : []));
    if (held) document.querySelector(`[data-picture="${held}"]`)?.focus(); // drawn anew under the keyboard
    this.frame();
  },

  /** Every picture is a button that selects its head; they are one stop for the keyboard, and arrow keys move among them. */
  row([layer, text]) {
    const { element } = display;
    const { side } = this.made;
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const buttons = Array.from({ length: headscope.facts.heads }, (_, head) => {
      const canvas = element("canvas", { width: side, height: side, "aria-hidden": "true" });
      this.paint(canvas, bytes.subarray(head * side * side, (head + 1) * side * side));
      const made = element("button", { type: "button", "data-picture": `${layer}.${head}`, "aria-label": `Head ${layer}.${head}`, title: `${layer}.${head}` }, canvas);
      made.addEventListener("click", () => headscope.select([layer, head]));
      return made;
    });
    return element("div", { class: "pictures" }, element("span", { class: "note" }, String(layer)), ...buttons);
  },

  paint(canvas, values) {
    const stops = display.theme.stops(false).map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
    const drawing = canvas.getContext("2d");
    const image = drawing.createImageData(canvas.width, canvas.height);
    values.forEach((value, at) => image.data.set([...stops[Math.round((value / 255) * (stops.length - 1))], 255], 4 * at));
    drawing.putImageData(image, 0, 0);
  },

  frame() {
    const chosen = headscope.state.head?.join(".");
    const moved = document.activeElement?.dataset?.picture;
    document.querySelectorAll("[data-picture]").forEach((one) => {
      one.setAttribute("aria-pressed", String(one.dataset.picture === chosen));
      one.tabIndex = one.dataset.picture === chosen ? 0 : -1;
      if (moved && one.dataset.picture === chosen) one.focus();
    });
  },
};
