"use strict";
// Sets of heads and FFNs under a name: those of the run, and a person's own, which the address keeps.

headscope.sets = {
  /** The run's, then a person's own. */
  all() {
    return [...headscope.facts.sets.map((set) => ({ ...set, ffns: [], own: false })), ...headscope.state.sets.map((set) => ({ ...set, own: true }))];
  },

  draw() {
    const select = headscope.$("named-set");
    if (!select) return;
    const { element } = display;
    const option = (set) => element("option", { value: set.name }, `${set.name} (${this.size(set)})`);
    const group = (label, sets) => (sets.length ? [element("optgroup", { label }, ...sets.map(option))] : []);
    const sets = this.all();
    select.replaceChildren(element("option", { value: "" }, "remove …"), ...group("Of the run", sets.filter(({ own }) => !own)), ...group("Your own", sets.filter(({ own }) => own)));
  },

  size: ({ heads, ffns }) => [heads.length && display.count(heads.length, "head"), ffns.length && display.count(ffns.length, "FFN")].filter(Boolean).join(", "),

  /** Remove the heads of a set in the place of what is removed. */
  remove(name) {
    const set = this.all().find((one) => one.name === name);
    if (set) headscope.remove({ heads: set.heads, ffns: set.ffns });
    headscope.$("named-set").value = "";
  },

  /** What is removed now, under a name; an empty removal takes the name away. */
  keep() {
    const name = headscope.value("set-name").trim().slice(0, 40);
    const { heads, ffns } = headscope.state.removal;
    const taken = headscope.facts.sets.some((set) => set.name === name);
    const problem = !name ? "Give the set a name: it keeps what is removed now." : taken ? `The run has a set called “${name}”: take another name.` : "";
    headscope.props("removal-problem", { children: problem });
    if (problem) return;
    const others = headscope.state.sets.filter((set) => set.name !== name);
    headscope.set({ sets: heads.length || ffns.length ? [...others, { name, heads, ffns }] : others });
    headscope.field("set-name", "");
    this.draw();
  },

  /** `name~18.6_17.3~0_1`, joined by `|`; names have their marks encoded. */
  written: (sets) => sets.map(({ name, heads, ffns }) => `${encodeURIComponent(name).replaceAll("~", "%7E").replaceAll("|", "%7C")}~${heads.map((head) => head.join(".")).join("_")}~${ffns.join("_")}`).join("|"),

  /** Those of an address whose heads and FFNs are all here. */
  read(text, facts) {
    const numbers = (part, mark) => part.split(mark).map((number) => (/^\d{1,6}$/.test(number) ? Number(number) : NaN));
    const sets = (text || "").split("|").filter(Boolean).map((part) => {
      const [name, heads = "", ffns = ""] = part.split("~");
      try {
        return { name: decodeURIComponent(name).slice(0, 40), heads: heads.split("_").filter(Boolean).map((head) => numbers(head, ".")), ffns: ffns ? numbers(ffns, "_") : [] };
      } catch { return null; }
    });
    const here = (set) => set && set.name && set.heads.every((head) => headscope.inside(head)) && set.ffns.every((layer) => layer >= 0 && layer < facts.layers);
    return { sets: sets.filter(here), lost: sets.length - sets.filter(here).length };
  },
};
