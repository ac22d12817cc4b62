"use strict";
// Tables and cards from Python's elements, as plain DOM: as components of Dash they would keep a person waiting, for it
// tells every component on the page of each one that appears.

headscope.tree = {
  /** An element of dash.html with what is in it; texts stay texts. */
  build(node) {
    if (node === null || node === undefined) return "";
    if (typeof node !== "object") return String(node);
    const { children, style, className, ...attributes } = node.props;
    const made = document.createElement(node.type);
    if (className) made.className = className;
    Object.assign(made.style, style || {});
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...this.all(children));
    return made;
  },

  all(nodes) {
    return (Array.isArray(nodes) ? nodes : [nodes]).map((node) => this.build(node));
  },

  /** What is folded out stays so. */
  fill(id, nodes) {
    const box = headscope.$(id);
    if (!box) return;
    const open = new Map([...box.querySelectorAll("details")].map((one) => [one.firstChild.textContent, one.open]));
    box.replaceChildren(...this.all(nodes));
    box.querySelectorAll("details").forEach((one) => { one.open = open.get(one.firstChild.textContent) ?? one.open; });
  },
};
