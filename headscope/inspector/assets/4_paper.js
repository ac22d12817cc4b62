"use strict";
// On paper, plots are light and as wide as the page; on the screen they are then as they were.

headscope.paper = {
  kept: [], // what stood on the screen

  /** Before the page is printed: Dash would draw anew only afterwards. */
  on() {
    const { dark, light } = display.theme.palettes;
    const back = Object.fromEntries([...Object.entries(display.theme.palettes.swaps).map(([one, other]) => [other, one]), [dark.paper, light.panel], [light.paper, light.panel]]);
    for (const plot of document.querySelectorAll(".js-plotly-plot")) {
      if (!plot.data?.length || !plot.clientWidth) continue;
      const { data, layout } = plot;
      this.kept.push([plot, data, { ...layout }]);
      const width = display.theme.width(plot.closest(".mosaics, .outcome") ? 0.47 : 1);
      window.Plotly.react(plot, this.swapped(data, back), { ...this.swapped(layout, back), ...width });
    }
  },

  off() {
    for (const [plot, data, layout] of this.kept) window.Plotly.react(plot, data, layout);
    this.kept = [];
  },

  /** The same with other colours; arrays of numbers as they are. */
  swapped(value, colours) {
    if (typeof value === "string") return colours[value] ?? value;
    if (Array.isArray(value)) return value.map((one) => this.swapped(one, colours));
    if (!value || value.constructor !== Object) return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, this.swapped(one, colours)]));
  },
};
