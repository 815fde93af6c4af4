// Two videos of one size above each other, with a line to wipe between them.

function wipe(first, second, screen) {
  const under = media(first.output, labelOf(first), screen);
  const over = media(second.output, labelOf(second), screen);
  over.classList.add("over");
  const line = element("input", { type: "range", min: "0", max: "100", step: "0.5", "aria-label": "Wipe" });
  line.value = 50;
  const box = element(
    "div",
    { class: "wipe", style: `--shape: ${first.output.width / first.output.height}` },
    under,
    over,
    element("span", { class: "edge" }),
    element("span", { class: "left" }, labelAmong(first, [first, second])),
    element("span", { class: "right" }, labelAmong(second, [first, second])),
    line,
  );
  const move = () => box.style.setProperty("--at", `${line.value}%`);
  const drag = (event) => {
    if (event.buttons !== 1 || event.target === line) return;
    const { left, width } = box.getBoundingClientRect();
    line.value = (100 * (event.clientX - left)) / width;
    move();
  };
  line.addEventListener("input", move);
  box.addEventListener("pointerdown", drag);
  box.addEventListener("pointermove", drag);
  move();
  return box;
}
