"use strict";
// The figures of the run: what is chosen there is what is shown.

headscope.stored = {
  shown: null, // the last answer

  /** Another figure was asked for. */
  waits() {
    if (!this.shown) return;
    headscope.head.stale(["stored-panel-section"], true);
    headscope.head.text("stored-caption", "Another figure is being drawn.");
    headscope.watch();
  },

  /** The choices are those of the figure that came. One that was overtaken by another choice is not shown. */
  hear(made) {
    const asked = headscope.state["stored-choice"] ?? null;
    if (JSON.stringify(made.asked ?? null) !== JSON.stringify(asked)) return false;
    this.shown = made;
    const [name, panel] = made.choice;
    const fill = (id, options, chosen) => {
      const select = headscope.$(id);
      select.replaceChildren(...options.map(([value, text]) => display.element("option", { value }, text)));
      select.value = String(chosen);
    };
    fill("stored-name", made.names, name);
    fill("stored-panel", made.panels.map((title, at) => [String(at), title]), panel);
    headscope.head.text("stored-caption", made.caption);
    headscope.$("stored-panel-section").hidden = false;
    headscope.head.stale(["stored-panel-section"], false);
    return true;
  },
};
