"use strict";
// What every script of the page uses: the data, elements made from text, numbers and tokens as text.

const report = JSON.parse(document.getElementById("report-data").textContent);
const $ = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text, never HTML. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

const headName = (place) => `${Math.floor(place / report.heads)}.${place % report.heads}`;
const known = (value) => value !== null && value !== undefined;

/** A number in a score's own precision, with a true minus sign. */
function number(value, score) {
  if (!known(value)) return "–";
  const digits = score ? decimals(score) : 2;
  const text = digits === null ? value.toExponential(1) : value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace(/-/g, "\u2212");
}

/** Decimals that show two digits of the largest value; null where that takes an exponent. */
function decimals(score) {
  if (score.decimals === undefined) {
    const largest = Math.max(...score.mean.filter(known).map(Math.abs), 0);
    score.decimals = largest === 0 || largest >= 0.1 ? 2 : largest >= 1e-4 ? 1 - Math.floor(Math.log10(largest)) : null;
  }
  return score.decimals;
}

/** A null's mean is often far below the scores: one more digit where two would show 0.00. */
function nullMean(score, place) {
  const value = score.null[place];
  const usual = number(value, score);
  if (!known(value) || decimals(score) === null || Number(usual.replace("\u2212", "-")) !== 0) return usual;
  const finer = value.toFixed(decimals(score) + 1);
  return Number(finer) === 0 ? usual : finer.replace("-", "\u2212");
}

function interval(score, place) {
  if (!score.low.length || !known(score.low[place])) return "";
  return `[${number(score.low[place], score)}, ${number(score.high[place], score)}]`;
}

const probability = (p) => (!known(p) ? "–" : p < 0.001 ? p.toPrecision(1) : p < 0.1 ? p.toFixed(3) : p.toFixed(2));
const aboveNull = (score, place) => known(score.family[place]) && score.family[place] <= report.level;

/** 1 for the highest value; heads without a value have no rank. */
function rank(score, place) {
  if (!score.ranks) {
    const order = score.mean.map((value, at) => at).filter((at) => known(score.mean[at]));
    order.sort((a, b) => score.mean[b] - score.mean[a]);
    score.ranks = new Map(order.map((at, index) => [at, index + 1]));
  }
  return score.ranks.get(place);
}

const CLASS_MARKS = { "copying": "●", "anti-copying": "▼", "matching only": "○" };
const className = (place) => (report.classes ? report.classes[place] : "");

/** A token as it is, but for characters that have no shape of their own. */
function shown(token) {
  return token.replace(/\r\n|\n/g, "⏎").replace(/\t/g, "⇥").replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));
}

/** Text for plotly's labels: it reads a few HTML tags and entities, and SVG text has no isolation of directions. */
function label(text) {
  const plain = shown(text).replace(/[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g, (c) => `U+${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return plain.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

const TOUCH = matchMedia("(pointer: coarse)").matches;
// plotly would offer to send the figure's data to its maker's server: switched off, and without an address.
const PLOT_OPTIONS = {
  displaylogo: false,
  displayModeBar: TOUCH ? false : "hover",
  responsive: true,
  showSendToCloud: false,
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  toImageButtonOptions: { format: "png", scale: 3 },
};
