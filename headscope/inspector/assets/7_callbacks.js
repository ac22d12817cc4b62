"use strict";
// What Dash calls in the browser (inspector/browser.py): figures dressed in the theme with the selection on them.

window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.headscope = {
  boot(told, version) {
    const first = !headscope.booted;
    headscope.told = told;
    if (first) {
      headscope.booted = true;
      headscope.store("tab", Math.random().toString(36).slice(2));
      headscope.events.start();
      headscope.theme.start();
    }
    const rescored = headscope.version !== version;
    headscope.version = version;
    if (first) headscope.begin(told);
    else if (rescored) headscope.rescored(told);
    document.documentElement.dataset.ready = "yes";
    return true;
  },

  mosaic(made, theme, removal) {
    if (!made || !headscope.state.head) return window.dash_clientside.no_update;
    const figure = headscope.theme.dressed(made.figure);
    const { letter } = made;
    if (figure.data[0].colorbar && innerWidth < 760) figure.data[0].colorbar.nticks = 4;
    headscope.values = { ...headscope.values, [letter]: made.values };
    figure.layout.shapes = headscope.theme.framed();
    const heads = removal ? removal.heads : [];
    figure.data.push({
      type: "scatter", mode: "markers", x: heads.map(([, x]) => x), y: heads.map(([y]) => y), hoverinfo: "skip", showlegend: false,
      marker: { symbol: "x", size: 9, color: headscope.theme.colour("accent"), line: { color: headscope.theme.colour("paper"), width: 1 } },
    });
    setTimeout(() => headscope.theme.settle(`mosaic-${letter}`), 200);
    return figure;
  },

  /** A click selects; where clicks remove, it also takes the head out or puts it back. */
  clicked(a, b, cell) {
    const mosaic = a || b;
    if (mosaic) {
      const { x, y } = mosaic.points[0];
      headscope.select([y, x]);
      if (document.querySelector("#picking input:checked")) headscope.toggle([y, x]);
      document.querySelector(`#mosaic-panel-${a ? "a" : "b"} .focusable`).focus({ preventScroll: true });
    } else if (cell) {
      headscope.set({ query: Number.parseInt(String(cell.points[0].y), 10) });
    }
    return [null, null, null];
  },

  /** The answer to a selection: everything but the heat map goes straight into the page, once. */
  attention(made, theme, query) {
    if (!made) return window.dash_clientside.no_update;
    if (made !== headscope.head.shown && !headscope.head.hear(made)) return window.dash_clientside.no_update;
    if (made.attention.problem) return headscope.theme.blank();
    const figure = headscope.theme.square(headscope.theme.dressed(made.attention.figure));
    setTimeout(() => headscope.theme.settle("attention"), 200);
    const rows = figure.data[0].y;
    const at = query === null || query === undefined ? -1 : rows.findIndex((name) => Number.parseInt(name, 10) === query);
    if (at >= 0) {
      const line = { color: headscope.theme.colour("accent"), width: 1.5 };
      figure.layout.shapes = [...(figure.layout.shapes || []), { type: "rect", x0: -0.5, x1: figure.data[0].x.length - 0.5, y0: at - 0.5, y1: at + 0.5, line }];
    }
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
    return headscope.theme.dressed(made.figure);
  },

  loss(made) {
    if (!made) return window.dash_clientside.no_update;
    headscope.head.stale(["loss"], false);
    return headscope.theme.dressed(made.figure);
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
  strip(reading, found) {
    if (reading && reading !== headscope.reading) {
      headscope.reading = reading;
      headscope.head.ask();
      headscope.head.stale(["next", "loss", "changes"], true);
      headscope.fillWindows(reading.tokens.length);
    }
    if (found && found !== headscope.strip.heard) {
      headscope.strip.heard = found;
      headscope.strip.hear(found);
    }
    headscope.strip.draw();
    return "";
  },

  afterBox(value) {
    headscope.state.showAfter = value.includes("on");
    headscope.markAfter();
    headscope.address.write();
    return "";
  },

  /** Heads and FFNs from the lists, read by the server. */
  listed(answer) {
    if (!answer.problem) headscope.remove({ heads: answer.heads, ffns: answer.ffns });
    return answer.problem;
  },
};
