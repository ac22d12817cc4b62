"use strict";
// The two mosaics: two scores beside each other, what is removed crossed out in both.

/** The figure of a mosaic; nothing while there are no scores to draw. */
headscope.mosaic = (letter) => {
  const { scores, state } = headscope;
  if (!scores || !state.head) return window.dash_clientside.no_update;
  const listed = state.pair.map((name) => scores.entries.find(({ id }) => id === name)).filter(Boolean);
  const name = state.pair["ab".indexOf(letter)];
  const score = listed.find(({ id }) => id === name);
  display.mosaic.options(scores, headscope.$(`score-${letter}`), name);
  headscope.head.text(`meaning-${letter}`, score?.meaning ?? "");
  const figure = display.mosaic.figure(scores, score, {
    told: [...new Set(listed)], selected: scores.placeOf(state.head), removed: state.removal.heads.map((head) => scores.placeOf(head)),
  });
  headscope.$(`mosaic-${letter}`).style.height = `${figure.layout.height}px`;
  return figure;
};
