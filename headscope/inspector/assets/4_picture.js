"use strict";
// Saved pictures: a plot under a heading of its own, for outside the page nothing else says what it shows.

headscope.picture = {
  HEADING: { size: 13, line: 18, glyph: 7.2 },
  BELOW: { size: 10.5, line: 15, glyph: 5.6 },

  save(name, format) {
    const plot = document.querySelector(`#${name} .js-plotly-plot`);
    if (!plot || !window.Plotly) return;
    if (!plot.data || !plot.data.length) return headscope.refuse("There is nothing in this panel that could be saved.");
    const words = this.words(name);
    const width = plot.clientWidth;
    const { figure, height } = this.headed(plot, words, width);
    window.Plotly.downloadImage(figure, { format, scale: format === "png" ? 3 : 1, filename: `headscope-${words.file}`, width, height });
    return headscope.refuse("");
  },

  /** What a plot shows: heading, what belongs to it, name of a file. */
  words(name) {
    const { state, facts, reading } = headscope;
    if (name === "stored") {
      const { choice, names, panels } = headscope.stored.shown;
      const [, title] = names.find(([figure]) => figure === choice[0]);
      return { heading: `${title}: ${panels[choice[1]]}`, below: facts.name, file: choice.join("-") };
    }
    if (name === "attention") {
      const { asked, attention } = headscope.head.shown;
      const below = [facts.name, reading.name, this.removed(asked.after)];
      return { heading: attention.title, below: below.filter(Boolean).join("; "), file: `attention-${asked.head.join(".")}${asked.after ? "-after" : ""}` };
    }
    const removed = headscope.empty(state.removal) ? null : state.removal;
    if (name === "parts" || name === "lens") {
      const asked = headscope.questions.asked.writers?.removal; // only the lens has a line after removal
      const gone = name === "lens" && asked && !headscope.empty(asked) ? this.removed(asked) : "";
      const below = [facts.name, reading.name, gone].filter(Boolean).join("; ");
      return { heading: `${name === "lens" ? "Logit lens" : "By layer"}: ${headscope.$("writers-title").textContent}`, below, file: name };
    }
    if (name === "loss") {
      const below = [facts.name, reading.name, this.removed(removed)].filter(Boolean).join("; ");
      return { heading: `Loss of each token${removed ? " before and after removal" : ""}`, below, file: `loss${removed ? "-after" : ""}` };
    }
    if (["mosaic-beside", "mosaic-change"].includes(name)) {
      const [part, score] = [name.split("-")[1], headscope.state.pair[0]];
      const heading = part === "change" ? `${headscope.beside.label()}: ` : "";
      return { heading: heading + headscope.$(`${part}-title`).textContent, below: facts.name, file: `${part}-${this.file(score)}` };
    }
    const select = headscope.$(`score-${name.at(-1)}`);
    const crossed = removed && removed.heads.length ? `crossed out: ${headscope.removed.groups(removed.heads).join(", ")}` : "";
    return {
      heading: select.selectedOptions[0]?.textContent || "Attention heads", below: [facts.name, crossed].filter(Boolean).join("; "),
      file: `mosaic-${this.file(select.value)}`,
    };
  },

  /** A score as part of a file's name. */
  file(id) {
    const [score, variant, ...rest] = id.split("/");
    const [task, shots] = [rest.slice(0, -1).join("/"), rest.at(-1)]; // a task's name may hold a slash
    return [score, variant, ...(task ? [task, shots] : [])].filter(Boolean).join("-").replace(/[^\w.-]+/g, "_");
  },

  removed(removal) {
    if (!removal) return "";
    return `removed by ${removal.ablation}: ${headscope.removed.told(removal).join(", ")}`;
  },

  /** The figure with a heading above it, and how high it has become; the plot on the page stays as it is. */
  headed(plot, words, width) {
    const { layout } = plot;
    const lines = [words.heading, words.below].map((text, at) => this.wrapped(text, (width - 16) / [this.HEADING, this.BELOW][at].glyph));
    const room = 6 + lines[0].length * this.HEADING.line + lines[1].length * this.BELOW.line;
    const own = layout.title && layout.title.text ? 30 : 0; // a heading that the figure has by itself
    const margin = { ...plot._fullLayout.margin, ...layout.margin };
    const margins = { ...margin, t: margin.t + room - own };
    const small = lines[1].map((line) => `<span style="font-size:${this.BELOW.size}px">${line}</span>`);
    const heading = {
      text: [...lines[0].map((line) => `<b>${line}</b>`), ...small].join("<br>"), font: { size: this.HEADING.size }, align: "left", showarrow: false,
      xref: "paper", x: 0, xanchor: "left", xshift: 8 - margins.l, yref: "paper", y: 1, yanchor: "top", yshift: margins.t - 6,
    };
    const height = plot.clientHeight + room - own;
    const annotations = [...(layout.annotations || []), heading];
    return { figure: { data: plot.data, layout: { ...layout, title: { text: "" }, annotations, width, height, margin: margins } }, height };
  },

  /** Lines of about so many characters, as plotly shows them: it reads a few HTML tags. */
  wrapped(text, most) {
    const lines = [""];
    for (const word of text.split(/\s+/)) {
      const joined = `${lines.at(-1)} ${word}`.trim();
      if (joined.length <= most || !lines.at(-1)) lines[lines.length - 1] = joined;
      else lines.push(word);
    }
    return lines.filter(Boolean).map((line) => display.plain(line.slice(0, Math.max(8, Math.floor(1.2 * most)))));
  },
};
