"use strict";
// Tables from Python's elements, as plain DOM: as components of Dash they would keep a person waiting, for it
// tells every component on the page of each one that appears.

headscope.tree = {
  /** An element of dash.html with what is in it; texts stay texts. */
  build(node) {
    if (node === null || node === undefined) return "";
    if (typeof node !== "object") return String(node);
    const { children, style, className, ...attributes } = node.props;
    const made = display.element(node.type, { class: className, ...attributes }, ...this.all(children));
    Object.assign(made.style, style || {});
    return made;
  },

  all(nodes) {
    return (Array.isArray(nodes) ? nodes : [nodes]).map((node) => this.build(node));
  },

  fill(id, nodes) {
    headscope.$(id)?.replaceChildren(...this.all(nodes));
  },
};
