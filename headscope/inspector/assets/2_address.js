"use strict";
// The address bar holds the state: behind #, so that it never travels to a server.

headscope.address = {
  LONGEST: 6000,
  kept: {}, // parts that need the model, where it is not loaded: they stay in the address as they are

  keep(live) {
    const address = new URLSearchParams(location.hash.slice(1));
    const has = (name) => address.get(name);
    const parts = [has("prompt") && "a prompt", (has("heads") || has("ffns")) && "a removal of heads or FFNs"].filter(Boolean);
    this.kept = {};
    const names = ["heads", "ffns", "ablation", "after", ...(has("prompt") ? ["prompt", "query", "window"] : [])];
    if (!live && parts.length) for (const name of names) if (has(name)) this.kept[name] = has(name);
    return live || !parts.length ? "" : `This link also holds ${parts.join(" and ")}. That needs the model, which is not loaded: what is stored is shown instead, and the link stays as it is.`;
  },

  /** What the address names that is not here; a head out of the model's must not be another's in silence. */
  unknown(asked, facts) {
    const given = new URLSearchParams(location.hash.slice(1));
    const has = (name) => given.get(name);
    const wrong = [];
    if (has("head") && !headscope.inside(asked.head)) wrong.push(`head ${has("head")}`);
    for (const name of "ab") if (has(name) && !facts.scores.includes(has(name)) && !facts.scoring) wrong.push(`the score ${has(name)}`);
    const heads = asked.heads.filter((head) => headscope.inside(head));
    if (has("heads") && heads.length < has("heads").split(",").length) wrong.push(`some of the heads ${has("heads")}`);
    const ffns = asked.ffns.filter((layer) => layer < facts.layers);
    if (has("ffns") && ffns.length < has("ffns").split(",").length) wrong.push(`some of the FFNs ${has("ffns")}`);
    if (has("sets") && headscope.sets.read(has("sets"), facts).lost) wrong.push("some of its sets of heads");
    if (has("query") && asked.query === null) wrong.push(`the token ${has("query")}`);
    if (has("prompt") && !asked.prompt) wrong.push("its prompt");
    return wrong.length ? `This link names what is not here: ${wrong.join(", ")}.` : "";
  },

  /** What a link asked for and did not get. */
  note(sentences) {
    const note = headscope.$("link-note");
    note.textContent = sentences.filter(Boolean).join(" ");
    note.hidden = !note.textContent;
  },

  prompt(prompt) {
    if (!prompt) return "";
    if (prompt.kind === "text") return prompt.text.length > this.LONGEST ? "" : `text:${prompt.text}`;
    if (prompt.kind === "task") return `task:${prompt.task}:${prompt.shots}:${prompt.document}`;
    if (prompt.kind === "repeated") return `repeated:${prompt.length}:${prompt.repeats}:${prompt.seed}`;
    return "";
  },

  write() {
    const { head, pair, prompt, query, removal, sets, toward, window: part, vis, showAfter, "stored-choice": figure } = headscope.state;
    if (!head || !pair || !removal) return;
    const parts = new URLSearchParams();
    const put = (name, value) => { if (value) parts.set(name, value); };
    put("head", head.join("."));
    put("a", pair[0]);
    put("b", pair[1]);
    put("prompt", this.prompt(prompt));
    put("query", query === null || query === undefined ? "" : String(query));
    put("heads", removal.heads.map((head) => head.join(".")).join(","));
    put("ffns", removal.ffns.join(","));
    put("ablation", removal.ablation === "zero" ? "" : removal.ablation);
    put("sets", headscope.sets.written(sets || []));
    put("toward", toward ? "1" : "");
    put("window", part && (part[0] || part[1]) ? part.join(",") : "");
    put("vis", vis && vis.kind !== "off" ? `${vis.kind}:${vis.start}` : "");
    put("after", showAfter ? "1" : "");
    put("figure", figure ? figure.join(":") : "");
    for (const [name, value] of Object.entries(this.kept)) parts.set(name, value);
    const next = `#${parts}`;
    if (next !== location.hash) history.replaceState(null, "", next);
  },

  read() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const numbers = (text, mark) => (text ? text.split(mark).map((part) => (/^\d+$/.test(part) ? Number(part) : NaN)) : []);
    const whole = (list, length) => (list.length === length && list.every(Number.isInteger) ? list : null);
    const [kind, start] = (parts.get("vis") || "").split(":");
    const figure = /^(\w+):(\d+)$/.exec(parts.get("figure") || "");
    return {
      head: whole(numbers(parts.get("head"), "."), 2),
      a: parts.get("a"),
      b: parts.get("b"),
      prompt: this.readPrompt(parts.get("prompt") || ""),
      query: whole(numbers(parts.get("query"), ","), 1)?.[0] ?? null,
      heads: (parts.get("heads") || "").split(",").map((part) => whole(numbers(part, "."), 2)).filter(Boolean),
      ffns: numbers(parts.get("ffns"), ",").filter(Number.isInteger),
      ablation: parts.get("ablation") === "mean" ? "mean" : "zero",
      window: whole(numbers(parts.get("window"), ","), 2) || [0, 0],
      vis: ["head", "layer"].includes(kind) ? { kind, start: Number(start) || 0 } : { kind: "off", start: 0 },
      after: parts.get("after") === "1",
      toward: parts.get("toward") === "1",
      sets: parts.get("sets"),
      figure: figure ? [figure[1], Number(figure[2])] : null,
    };
  },

  readPrompt(text) {
    if (text.startsWith("text:")) return { kind: "text", text: text.slice(5) };
    const task = /^task:([^:]+(?::[^:\d][^:]*)?):(\d+):(\d+)$/.exec(text);
    if (task) return { kind: "task", task: task[1], shots: Number(task[2]), document: Number(task[3]) };
    const repeated = /^repeated:(\d+):(\d+):(\d+)$/.exec(text);
    if (repeated) return { kind: "repeated", length: Number(repeated[1]), repeats: Number(repeated[2]), seed: Number(repeated[3]) };
    return null;
  },
};
