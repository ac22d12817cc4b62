"use strict";
// What a paper takes from the page: figures as SVG, tables as tab-separated text or LaTeX, the words to cite.

const kit = {
  WIDTH: 640, // pixels of a saved figure

  /** What `draw` makes, in the light theme, on white. */
  light(draw) {
    const { printing } = display.theme;
    display.theme.printing = true;
    try {
      const { data, layout } = draw();
      return { data, layout: { ...layout, paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff" } };
    } finally {
      display.theme.printing = printing;
    }
  },
  /** A file for the reader. */
  save(text, type, name) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  },
  async saveFigure(draw, name) {
    const { data, layout } = this.light(draw);
    const size = { width: layout.width ?? this.WIDTH, height: layout.height };
    const svg = await Plotly.toImage({ data, layout: { ...layout, ...size, autosize: false } }, { format: "svg", ...size, imageDataOnly: true });
    this.save(svg, "image/svg+xml", `${name}.svg`);
  },
  /** A button that saves what `draw` makes; name: the file's, without its end. */
  figureButton(draw, name, title) {
    const made = element("button", { type: "button", class: "save", "aria-label": `Save as SVG: ${title}` }, "SVG");
    made.addEventListener("click", () => this.saveFigure(draw, name()));
    return made;
  },

  /** To the clipboard; by the old way where a page opened from a file may not. */
  async copy(text, button) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = element("textarea", { class: "unseen", readonly: true });
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      button.focus({ preventScroll: true });
    }
    const before = (button.dataset.name ??= button.textContent);
    button.textContent = done ? "Copied" : "Not copied: the browser forbids it";
    $("told").textContent = done ? `${button.getAttribute("aria-label") ?? before}: copied` : button.textContent;
    setTimeout(() => { button.textContent = before; }, 1600);
  },
  copyButton(text, name, what) {
    const made = element("button", { type: "button", class: "save", "aria-label": `${name}: ${what}` }, name);
    made.addEventListener("click", () => this.copy(text(), made));
    return made;
  },

  /** A table's rows as it shows them: [{ text, bold }], headings first. What stands small in a cell is left out. */
  rowsOf(table) {
    const cell = (one) => {
      const copy = one.cloneNode(true);
      copy.querySelectorAll("small").forEach((small) => small.remove());
      const value = copy.querySelector("b, .badge");
      return { text: copy.textContent.replace(/\s+/g, " ").trim(), bold: value?.tagName === "B" ? value.textContent : "" };
    };
    return [...table.rows].map((row) => [...row.cells].map(cell));
  },
  /** What a spreadsheet would take for a formula gets an apostrophe in front, as in the inspector's downloads. */
  harmless: (text) => (/^[=+\-@\t\r]./s.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text),
  tsv: (rows) => rows.map((cells) => cells.map((cell) => kit.harmless(String(cell ?? "").replace(/[\t\r\n]+/g, " "))).join("\t")).join("\n") + "\n",

  SIGNS: { "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", $: "\\$", "#": "\\#", _: "\\_", "{": "\\{", "}": "\\}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\u2212": "$-$", "\u2013": "--", "\u2265": "$\\geq$", "\u2264": "$\\leq$", "\u2192": "$\\to$", "<": "$<$", ">": "$>$" },
  escaped(text) {
    return text.replace(/[\\&%$#_{}~^\u2212\u2013\u2265\u2264\u2192<>]/g, (sign) => this.SIGNS[sign]);
  },
  /** A table for the package booktabs; columns of numbers stand to the right. */
  latex(rows, caption) {
    const [head, ...body] = rows;
    const numeric = (at) => body.length && body.every((cells) => !cells[at]?.text || /^[\u2212+\-\u2013.\d]/.test(cells[at].text));
    const columns = head.map((_, at) => (at && numeric(at) ? "r" : "l")).join("");
    const line = (cells) => `${cells.map(({ text, bold }) => (bold ? this.escaped(text).replace(this.escaped(bold), (value) => `\\textbf{${value}}`) : this.escaped(text))).join(" & ")} \\\\`;
    return [
      "% needs \\usepackage{booktabs}", "\\begin{table}", "\\centering", `\\caption{${this.escaped(caption)}}`, `\\begin{tabular}{${columns}}`, "\\toprule",
      line(head), "\\midrule", ...body.map(line), "\\bottomrule", "\\end{tabular}", "\\end{table}", "",
    ].join("\n");
  },
  captionOf: (table) => (table.caption?.textContent ?? "").replace(/^Table \d+\.\s*/, "").replace(/\s+/g, " ").trim(),

  /** Buttons under a table. */
  forTable(table, place) {
    const name = this.captionOf(table).split(/[:.]/)[0] || "the table";
    const plain = () => this.tsv(this.rowsOf(table).map((row) => row.map(({ text }) => text)));
    place.after(element("p", { class: "saves" }, this.copyButton(plain, "Copy", name), this.copyButton(() => this.latex(this.rowsOf(table), this.captionOf(table)), "Copy LaTeX", name)));
  },
  /** Buttons for the panels of a head: the score that the mosaic shows, the attention of the head that is chosen. */
  forHeads() {
    const drawn = () => {
      const made = display.mosaic.figure(scores, mosaic.score, { told: [mosaic.score], selected: selection.place });
      const [cells] = made.data;
      const height = made.layout.height + 28;
      return { data: [{ ...cells, colorbar: { ...cells.colorbar, title: { text: display.plain(mosaic.score.label), side: "top" } } }], layout: { ...made.layout, height, shapes: [], margin: { ...made.layout.margin, t: 68 } } };
    };
    $("mosaic").after(element("p", { class: "saves" }, this.figureButton(drawn, () => `mosaic-${mosaic.score.id.replace(/\W+/g, "-").replace(/-0?$/, "")}`, "the mosaic of heads")));
    if (!report.attention) return;
    const looked = () => {
      const made = attention.figure(attention.patterns.get(scores.headName(selection.place)), { width: this.WIDTH });
      const [cells] = made.data;
      const title = { text: `attention of head ${scores.headName(selection.place)}`, side: "top" };
      return { data: [{ ...cells, colorbar: { ...cells.colorbar, title } }], layout: { ...made.layout, height: made.layout.height + 32, margin: { ...made.layout.margin, t: 68 } } };
    };
    const button = this.figureButton(looked, () => `attention-${scores.headName(selection.place)}`, "the attention of the head");
    $("attention").after(element("p", { class: "saves" }, button));
    const kept = () => { button.disabled = !(scores.headName(selection.place) in report.attention.heads); };
    selection.listeners.push(kept);
    kept();
  },
  start() {
    document.querySelectorAll("main table.plain-table").forEach((one) => {
      const place = one.closest(".scroll");
      if (place) this.forTable(one, place);
    });
    if (scores.entries.length) {
      this.forHeads();
      $("csv").after(
        this.copyButton(() => this.tsv(table.lines()), "Copy", "every head, in the columns chosen, with tabs between"),
        this.copyButton(() => this.latex(this.rowsOf($("table")), table.title()), "Copy LaTeX", "the rows shown"),
      );
    }
    for (const one of document.querySelectorAll("button[data-copy]")) one.addEventListener("click", () => this.copy($(one.dataset.copy).textContent.trim() + "\n", one));
  },
};
