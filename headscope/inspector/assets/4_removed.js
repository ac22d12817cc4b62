"use strict";
// What is removed, in words: whole layers as one, runs of FFNs as ranges.

headscope.removed = {
  LONGEST: 6,

  /** `18.6`, or `18.*` where no head of the layer is left. */
  groups(heads) {
    const layers = [...new Set(heads.map(([layer]) => layer))];
    return layers.flatMap((layer) => {
      const own = heads.filter((head) => head[0] === layer);
      return own.length === headscope.facts.heads && own.length > 1 ? [`${layer}.*`] : own.map((head) => head.join("."));
    });
  },

  /** [0, 1, 2, 5] -> 0-2, 5 */
  ranges(numbers) {
    const runs = [];
    for (const number of numbers) {
      if (runs.length && runs.at(-1)[1] === number - 1) runs.at(-1)[1] = number;
      else runs.push([number, number]);
    }
    return runs.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`));
  },

  told(removal) {
    return [...this.groups(removal.heads), ...this.ranges(removal.ffns).map((range) => `FFN ${range}`)];
  },

  /** For the line above the page. */
  brief(removal) {
    const names = this.told(removal);
    const more = names.length > this.LONGEST ? ` and ${names.length - this.LONGEST} more` : "";
    return `Without ${names.slice(0, this.LONGEST).join(", ")}${more}`;
  },
};
