"use strict";
// Another run beside this one: the left mosaic's score there, and the difference where heads have partners.

headscope.beside = {
  made: null,

  /** Fetched with the scores, which the server compares with them. */
  async fetch(version) {
    if (!headscope.$("beside-panel")) return;
    const made = await (await fetch(`/beside/${version}.json`)).json();
    this.made = { ...made, scores: new display.Scores(made.scores) };
    // Without partners there is no selection to move.
    if (!made.alike) document.querySelectorAll("#beside-panel .focusable").forEach((one) => one.removeAttribute("tabindex"));
    headscope.store("beside-made", version);
  },

  /** The left mosaic's score, in both runs. */
  scores() {
    const name = headscope.state.pair[0];
    const find = (scores) => scores?.entries.find(({ id }) => id === name);
    return [find(headscope.scores), find(this.made.scores)];
  },

  /** What the left mosaic shows. */
  label() {
    return this.scores()[0]?.label ?? "";
  },

  /** The selected head's place in the other run; none where heads have no partners. */
  selected() {
    return this.made.alike ? this.made.scores.placeOf(headscope.state.head) : -1;
  },

  draw(letter) {
    const { made } = this;
    if (!made || !headscope.scores || !headscope.state.head) return window.dash_clientside.no_update;
    const [mine, other] = this.scores();
    return letter === "beside" ? this.other(mine, other) : this.change(mine, other);
  },

  other(mine, other) {
    const { name, note, scores, told } = this.made;
    const missing = !other && mine ? `${name} holds no score ${mine.label}. ` : "";
    headscope.head.text("beside-told", `${missing}${told[mine?.id] ?? ""} ${note}`.trim());
    headscope.head.text("beside-title", other ? `${other.label} of ${name}` : "");
    headscope.head.text("beside-note", other?.meaning ?? "");
    headscope.$("beside-figure").hidden = !other;
    return other ? this.mosaic("beside", scores, other, [other]) : headscope.head.blank();
  },

  change(mine, other) {
    const { alike, name, own, scores } = this.made;
    const shown = Boolean(alike && mine && other);
    headscope.$("change-figure").hidden = !shown;
    if (!shown) return headscope.head.blank();
    headscope.head.text("change-title", `${name} minus ${own}`);
    const values = other.mean.map((value, at) => (display.known(value) && display.known(mine.mean[at]) ? value - mine.mean[at] : null));
    const equal = values.every((value) => !value);
    headscope.head.text("change-note", equal ? "Every head has the same score in both runs." : "Hovering tells the score in both runs and the difference.");
    const none = { low: [], high: [], null: [], p: [], family: [] };
    const difference = { ...none, id: "difference", label: "difference", mean: values, signed: true };
    const here = { ...mine, label: own };
    const there = { ...other, label: name };
    const figure = this.mosaic("change", scores, difference, [here, there, difference]);
    if (equal) figure.data[0].showscale = false;
    return figure;
  },

  mosaic(letter, scores, score, told) {
    const figure = display.mosaic.figure(scores, score, { told, selected: Math.max(0, this.selected()) });
    if (this.selected() < 0) figure.layout.shapes = [];
    headscope.$(`mosaic-${letter}`).style.height = `${figure.layout.height}px`;
    return figure;
  },

  /** A cell selects its head, where this model has it; arrow keys then move on. */
  picked(clicked, letter) {
    if (!clicked || !this.made.alike) return null;
    headscope.select([clicked.points[0].y, clicked.points[0].x]);
    document.querySelector(`#${letter}-figure .focusable`).focus({ preventScroll: true });
    return null;
  },
};
