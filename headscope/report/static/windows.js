// Windows of a long text: each is drawn by CircuitsVis when it is first chosen. `windows` are the calls that draw them.
const boxes = [...document.querySelectorAll(".drawing")];
const drawn = new Set();
const choice = document.querySelector("select");

function show(at) {
  boxes.forEach((box, other) => { box.hidden = other !== at; });
  if (drawn.has(at)) return;
  drawn.add(at);
  windows[at]();
}

if (choice) choice.addEventListener("change", () => show(Number(choice.value)));
show(0);
