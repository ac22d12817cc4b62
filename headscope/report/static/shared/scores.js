"use strict";
// Every stored score of every head, and its numbers as text. A head is known by its place: layer times heads, plus head.

display.known = (value) => value !== null && value !== undefined;

display.Scores = class {
  /** What headscope/report/contents.py makes: sizes, scores as entries with flat values, their groups, the classes. */
  constructor(data) {
    Object.assign(this, data);
  }
  get size() {
    return this.layers * this.heads;
  }
  /** Whether cells are too narrow to hold a mark. */
  get wide() {
    return this.heads > 24;
  }

  headAt(place) {
    return [Math.floor(place / this.heads), place % this.heads];
  }
  placeOf([layer, head]) {
    return layer * this.heads + head;
  }
  headName(place) {
    return this.headAt(place).join(".");
  }
  className(place) {
    return this.classes?.[place] ?? "";
  }
  /** Whether the head is one of those whose outputs make the function vector. */
  isVector(place) {
    return this.vectors?.includes(place) ?? false;
  }
  /** The heads that read the same keys and values. */
  group(place) {
    const [layer, head] = this.headAt(place);
    const size = Math.floor(this.heads / this.kv);
    const group = Math.floor(head / size);
    const mates = Array.from({ length: size }, (_, at) => group * size + at).filter((other) => other !== head);
    return mates.length ? `Key-value head ${group}, shared with ${mates.map((other) => `${layer}.${other}`).join(", ")}` : "A key-value head of its own";
  }

  /** Decimals that show two digits of the largest value, three where there is a null to tell it from; null where that
   * takes an exponent. */
  decimals(score) {
    if (score.decimals === undefined) {
      const largest = Math.max(...score.mean.filter(display.known).map(Math.abs), 0);
      const least = score.null.length ? 3 : 2;
      score.decimals = largest === 0 ? least : largest >= 1e-4 ? Math.max(least, 1 - Math.floor(Math.log10(largest))) : null;
    }
    return score.decimals;
  }
  /** A number in its score's own precision, with a true minus sign. */
  number(value, score) {
    if (!display.known(value)) return "–";
    const digits = this.decimals(score);
    const text = digits === null ? value.toExponential(1) : value.toFixed(digits);
    return (Number(text) === 0 ? text.replace("-", "") : text).replace(/-/g, "\u2212");
  }
  value(score, place) {
    return this.number(score.mean[place], score);
  }
  interval(score, place) {
    if (!display.known(score.low[place])) return "";
    return `[${this.number(score.low[place], score)}, ${this.number(score.high[place], score)}]`;
  }
  /** `null 0.012, p 0.001, family-wise 0.03`; empty for a score without a null. */
  null(score, place) {
    if (!display.known(score.null[place])) return "";
    return `null ${this.number(score.null[place], score)}, p ${display.probability(score.p[place])}, family-wise ${display.probability(score.family[place])}`;
  }
  aboveNull(score, place) {
    return display.known(score.family[place]) && score.family[place] <= this.level;
  }

  /** 1 for the highest value; heads without a value have no rank. */
  rank(score, place) {
    return this.ranks(score).get(place);
  }
  /** Place of a head -> its rank, best first. */
  ranks(score) {
    score.ranks ??= new Map(
      score.mean.map((value, at) => at).filter((at) => display.known(score.mean[at])).sort((a, b) => score.mean[b] - score.mean[a] || a - b).map((at, index) => [at, index + 1]),
    );
    return score.ranks;
  }
};

display.probability = (p) => (!display.known(p) ? "–" : p < 0.001 ? p.toPrecision(1) : p < 0.1 ? p.toFixed(3) : p.toFixed(2));
