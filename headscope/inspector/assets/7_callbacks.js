"use strict";
// What Dash calls in the browser (inspector/browser.py): figures dressed in the theme with the selection on them.

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.headscope = {
  boot(facts, version) {
    const first = !headscope.booted;
    if (first) {
      headscope.booted = true;
      headscope.store("tab", Math.random().toString(36).slice(2));
      headscope.drawTicks();
      headscope.events.start();
      display.theme.start(facts.theme, headscope.$("theme-button"));
      display.theme.listeners.push(() => {
        headscope.paper[display.theme.printing ? "on" : "off"]();
        if (!display.theme.printing) headscope.store("theme", display.theme.name());
        headscope.strip.draw();
        headscope.grid.draw();
      });
      headscope.store("theme", display.theme.name());
    }
    const rescored = headscope.version !== version;
    headscope.version = version;
    if (first) headscope.begin(facts);
    else if (rescored) headscope.rescored(facts);
    if (rescored) headscope.fetchScores(version);
    document.documentElement.dataset.ready = "yes";
    return true;
  },

  mosaic_a: () => headscope.mosaic("a"),
  mosaic_b: () => headscope.mosaic("b"),
  mosaic_beside: () => headscope.beside.draw("beside"),
  mosaic_change: () => headscope.beside.draw("change"),
  picked_beside: (clicked) => headscope.beside.picked(clicked, "beside"),
  picked_change: (clicked) => headscope.beside.picked(clicked, "change"),

  /** A click selects; where clicks remove, it also takes the head out or puts it back. */
  clicked(a, b, cell) {
    const clicked = a || b;
    if (clicked) {
      const { x, y } = clicked.points[0];
      headscope.select([y, x]);
      if (headscope.$("picking")?.checked) headscope.toggle([y, x]);
      document.querySelector(`#mosaic-panel-${a ? "a" : "b"} .focusable`).focus({ preventScroll: true });
    } else if (cell) {
      headscope.set({ query: cell.points[0].y });
    }
    return [null, null, null];
  },

  /** The answer to a selection: everything but the heat map goes straight into the page, once. */
  attention(made, theme, query) {
    if (!made) return window.dash_clientside.no_update;
    if (made !== headscope.head.shown && !headscope.head.hear(made)) return window.dash_clientside.no_update;
    if (made.attention.problem) return headscope.head.blank();
    const box = headscope.$("attention");
    const figure = display.attentionMap.figure(made.attention.map, { box, query: query ?? null, name: made.attention.title });
    box.style.height = `${figure.layout.height}px`;
    return figure;
  },

  /** Token copies come after a while; those of a head that is no longer selected are not shown. */
  copies(made) {
    if (!made || String(made.head) !== String(headscope.state.head)) return "";
    headscope.head.stale(["copies-panel"], false);
    headscope.head.text("copies-title", made.title);
    headscope.head.text("copies-note", made.note);
    headscope.tree.fill("copies", made.table);
    return "";
  },

  /** The server's refusal of a file goes away like the page's own. */
  notSaved(text) {
    clearTimeout(headscope.refusing);
    if (text) headscope.refusing = setTimeout(() => headscope.refuse(""), 12000);
    return "";
  },

  fill(made) {
    if (made === null || made === undefined) return window.dash_clientside.no_update;
    const { id } = window.dash_clientside.callback_context.outputs_list;
    headscope.tree.fill(id, made);
    headscope.head.stale([id], false);
    return window.dash_clientside.no_update;
  },

  stored(made) {
    if (!made || (made !== headscope.stored.shown && !headscope.stored.hear(made))) return window.dash_clientside.no_update;
    return display.theme.dressed(made.figure);
  },

  loss(made) {
    if (!made) return window.dash_clientside.no_update;
    headscope.head.stale(["loss"], false);
    return display.theme.dressed(made.figure);
  },

  /** A prompt was refused: the address and the selection go on with the one that was read before, if there is one. */
  refused(answer) {
    if (answer && headscope.reading) {
      headscope.state.prompt = headscope.reading.prompt;
      headscope.address.write();
    } else if (answer) headscope.head.text("attention-problem", "No prompt has been read yet.");
    return "";
  },

  /** What was read, and the rows of tokens that were chosen on it. */
  strip(reading, answer) {
    if (reading && reading !== headscope.reading) {
      headscope.reading = reading;
      headscope.head.ask();
      headscope.head.stale(headscope.head.OUTCOMES, true);
      headscope.fillWindows(reading.tokens.length);
      headscope.questions.mark();
      headscope.grid.follow(new Set(["prompt"]));
    }
    if (answer && answer !== headscope.strip.heard) {
      headscope.strip.heard = answer;
      headscope.strip.hear(answer);
    }
    headscope.strip.draw();
    return "";
  },

  /** Which heads write the next token, and what else was asked about it. */
  writers(made) {
    if (!made) return window.dash_clientside.no_update;
    if (headscope.questions.hear("writers", made)) {
      headscope.$("writers").hidden = Boolean(made.problem);
      headscope.head.text("writers-problem", made.problem);
      for (const [id, part] of [["writers-title", "title"], ["writers-sum", "sum"], ["lens-note", "lens_note"]]) headscope.head.text(id, made[part] || "");
    }
    return made.problem ? headscope.head.blank() : headscope.questions.mosaic("mosaic-written", made.mosaic);
  },
  parts: (made) => (made && !made.problem ? display.theme.dressed(made.parts) : headscope.head.blank()),
  lens: (made) => (made && !made.problem ? display.theme.dressed(made.lens) : headscope.head.blank()),

  /** The heads of the prompt in another one. */
  patch(made) {
    if (!made) return window.dash_clientside.no_update;
    if (headscope.questions.hear("patch", made)) {
      headscope.$("patch").hidden = Boolean(made.problem);
      headscope.head.text("patch-problem", made.problem);
      headscope.head.text("patch-title", made.title || "");
      headscope.head.text("patch-note", made.note || "");
    }
    return made.problem ? headscope.head.blank() : headscope.questions.mosaic("mosaic-patch", made.mosaic);
  },

  /** A cell of these mosaics selects its head. */
  picked(clicked) {
    if (clicked) headscope.select([clicked.points[0].y, clicked.points[0].x]);
    return null;
  },

  /** All heads on the prompt. */
  grid(made) {
    if (made && headscope.questions.hear("grid", made)) headscope.grid.made = made;
    headscope.grid.draw();
    return "";
  },

  /** The selected head over many prompts. */
  average(made) {
    if (!headscope.questions.hear("average", made)) return "";
    headscope.head.text("average-problem", made.problem);
    headscope.tree.fill("average", made.table ?? []);
    headscope.$("average-saves").hidden = Boolean(made.problem);
    return "";
  },

  /** What the model writes on. */
  written(made) {
    if (!headscope.questions.hear("write", made)) return "";
    headscope.head.text("written-problem", made.problem);
    headscope.head.text("written-note", made.note ?? "");
    headscope.tree.fill("written", made.table ?? []);
    return "";
  },

  /** Heads and FFNs from the lists, read by the server. */
  listed(answer) {
    if (!answer.problem) headscope.remove({ heads: answer.heads, ffns: answer.ffns });
    return answer.problem;
  },
};
