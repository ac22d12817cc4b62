"use strict";
// What the report and the inspector have in common: each file here adds a part. This one: elements, and texts of plots.

const display = {
  $: (id) => document.getElementById(id),

  /** An element with attributes and children; strings become text, never HTML. */
  element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  },

  /** Text for plotly's labels: it reads a few HTML tags and entities. */
  plain: (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"),

  count: (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`,

  TOUCH: matchMedia("(pointer: coarse)").matches,

  /** How wide and how high a line of text is in the page's font, whichever the machine has. */
  textSize(text, pixels) {
    const probe = display.element("span", { style: `position:absolute;visibility:hidden;white-space:pre;font:${pixels}px/normal var(--sans)` }, text);
    document.body.append(probe);
    const { width, height } = probe.getBoundingClientRect();
    probe.remove();
    return { width, height };
  },
};

// plotly would offer to send the figure's data to its maker's server: switched off, and without an address.
display.PLOT_OPTIONS = {
  displaylogo: false,
  displayModeBar: display.TOUCH ? false : "hover",
  responsive: true,
  showSendToCloud: false,
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  toImageButtonOptions: { format: "png", scale: 3 },
};
