"use strict";
// Every head as a row: sorted by any column, filtered by name, class and null; a part is shown until more is asked for.

const STEP = 30;
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

const table = {
  group: null,
  sort: { column: null, down: true },
  limit: STEP,
  columns() {
    return scores.entries.map((score, index) => ({ score, index })).filter(({ score }) => score.group === this.group);
  },
  /** Flat places of the heads that pass the filters. */
  chosen() {
    const text = $("filter-text").value.trim();
    const kind = $("filter-class") ? $("filter-class").value : "*";
    const strict = $("filter-null").checked;
    const score = typeof this.sort.column === "number" ? scores.entries[this.sort.column] : mosaic.score;
    return scores.entries[0].mean.map((_, place) => place).filter((place) => {
      const name = scores.headName(place);
      const named = !text || (text.includes(".") ? name === text || (text.endsWith(".") && name.startsWith(text)) : name.split(".")[0] === text);
      const classed = kind === "*" || (kind === "+" ? scores.className(place) !== "" : scores.className(place) === kind);
      return named && classed && (!strict || scores.aboveNull(score, place));
    });
  },
  sorted(places) {
    const { column, down } = this.sort;
    const way = down ? -1 : 1;
    if (column === "head") return places.sort((a, b) => -way * (b - a));
    if (column === "class") return places.sort((a, b) => (!scores.className(a) - !scores.className(b)) || -way * scores.className(a).localeCompare(scores.className(b)) || a - b);
    const { mean } = scores.entries[column];
    return places.sort((a, b) => (known(mean[b]) - known(mean[a])) || way * (mean[a] - mean[b]) || a - b);
  },
  head() {
    const cell = (column, text, title) => {
      const on = this.sort.column === column;
      const button = element("button", { type: "button", title }, text);
      button.addEventListener("click", () => this.order(column));
      return element("th", { scope: "col", "aria-sort": on ? (this.sort.down ? "descending" : "ascending") : "none", "data-column": String(column) }, button);
    };
    const named = [cell("head", "Head")];
    if (scores.classes) named.push(cell("class", "Class"));
    return element("tr", {}, ...named, ...this.columns().map(({ score, index }) => cell(index, score.short, score.label)));
  },
  cell(score, place) {
    const value = scores.value(score, place);
    const made = element("td", {}, scores.aboveNull(score, place) ? element("b", {}, value) : value);
    const around = scores.interval(score, place);
    if (around) made.append(" ", element("span", {}, around));
    if (known(score.null[place])) made.append(element("small", {}, `null ${scores.number(score.null[place], score)}, p ${display.probability(score.family[place])}`));
    return made;
  },
  row(place) {
    const name = element("button", { type: "button", title: "To its card" }, scores.headName(place));
    name.addEventListener("click", () => { selection.choose(place); $("card").scrollIntoView({ block: "center", behavior: STILL.matches ? "instant" : "smooth" }); });
    const made = element("tr", { "data-place": String(place), "aria-selected": String(place === selection.place) }, element("th", { scope: "row" }, name));
    if (scores.classes) {
      const kind = scores.className(place);
      made.append(element("td", {}, kind ? element("span", { class: `badge ${kind.replace(/ /g, "-")}` }, kind) : ""));
    }
    made.append(...this.columns().map(({ score }) => this.cell(score, place)));
    made.addEventListener("click", () => selection.choose(place));
    return made;
  },
  draw() {
    const places = this.sorted(this.chosen());
    const shownNow = places.slice(0, this.limit);
    $("table").tHead.replaceChildren(this.head());
    $("table").style.setProperty("--columns", $("table").tHead.rows[0].cells.length); // on paper, the more the smaller
    $("table").tBodies[0].replaceChildren(...shownNow.map((place) => this.row(place)));
    $("table-note").textContent = places.length ? `${shownNow.length} of ${places.length} heads` + (places.length < scores.entries[0].mean.length ? ` that pass the filters, of ${scores.entries[0].mean.length}` : "") : "No head passes the filters.";
    $("more").hidden = places.length <= this.limit;
    $("more").textContent = `Show all ${places.length}`;
  },
  order(column) {
    this.sort = this.sort.column === column ? { column, down: !this.sort.down } : { column, down: column !== "head" && column !== "class" };
    this.draw();
    const again = document.querySelector(`#table thead [data-column="${column}"] button`);
    if (again) again.focus({ preventScroll: true });
  },
  columnsOf(group) {
    this.group = group;
    const [first] = this.columns();
    this.sort = { column: first.index, down: true };
    this.draw();
  },
  mark() {
    for (const row of $("table").tBodies[0].rows) row.setAttribute("aria-selected", String(Number(row.dataset.place) === selection.place));
  },
  /** All heads and all numbers of the chosen columns, headings first. */
  lines() {
    const parts = ["mean", "low", "high", "null", "p", "family"];
    const columns = this.columns().flatMap(({ score }) => parts.filter((part) => score[part].length).map((part) => ({ score, part })));
    const lines = [["layer", "head", "class", ...columns.map(({ score, part }) => `${score.label} ${part}`)]];
    scores.entries[0].mean.forEach((_, place) => lines.push([...scores.headAt(place), scores.className(place), ...columns.map(({ score, part }) => score[part][place])]));
    return lines;
  },
  /** What the table holds, for a caption: how many heads of how many too. */
  title: () => `Attention heads of ${document.querySelector("h1").textContent.trim()}: score with 95% interval; bold: above null. ${$("table-note").textContent.replace(/\.?$/, ".")}`,
  /** The same for a spreadsheet. */
  csv() {
    const quoted = (value) => `"${kit.harmless(String(value ?? "")).replace(/"/g, '""')}"`;
    return this.lines().map((cells) => cells.map(quoted).join(",")).join("\r\n");
  },
  start() {
    const redraw = () => { this.limit = STEP; this.draw(); };
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    for (const name of ["filter-text", "filter-null"]) $(name).addEventListener("input", redraw);
    if ($("filter-class")) {
      const kinds = [...new Set(scores.classes)].filter(Boolean).sort();
      $("filter-class").append(...kinds.map((kind) => element("option", { value: kind }, kind)));
      $("filter-class").addEventListener("change", redraw);
    }
    $("columns-label").hidden = scores.groups.length < 2;
    $("columns").append(...scores.groups.map((group) => element("option", { value: group }, group)));
    $("columns").addEventListener("change", () => this.columnsOf($("columns").value));
    $("more").addEventListener("click", () => { this.limit = Infinity; this.draw(); });
    $("csv").addEventListener("click", () => kit.save(this.csv(), "text/csv", "heads.csv"));
    this.columnsOf(scores.groups[0]);
    selection.listeners.push(() => this.mark());
  },
};
