// A tile for each run: poster and video, or what became of it; stars; the mark to compare it.

const GLYPHS = { failed: "✕", blocked: "⊘", cancelled: "◼", lost: "?", pending: "…", queued: "…", running: "▷" };
const tiles = new Map();

function makeTiles(screen, open, choose) {
  for (const run of runs) tiles.set(run.id, makeTile(run, screen, open, choose));
  listeners.add((run) => showRating(run));
}

function makeTile(run, screen, open, choose) {
  const picture = run.output ? media(run.output, labelOf(run), screen) : stateCard(run);
  picture.addEventListener("click", () => open([run.id]));
  const stars = element("button", {
    type: "button",
    class: "stars",
    tabindex: "-1",
    onclick: (event) => {
      // A press on a star gives as many; on the last one given, it takes them away.
      const box = stars.getBoundingClientRect();
      const pressed = Math.min(5, Math.max(1, Math.ceil((5 * (event.clientX - box.left)) / box.width)));
      rate(run, { stars: starsOf(run) === pressed ? null : pressed });
    },
  });
  const box = element("input", { type: "checkbox", tabindex: "-1", onchange: () => choose(run.id, box.checked) });
  const compare = element("label", { class: "choose" }, box, element("span", {}, "compare"));
  const tile = element(
    "figure",
    { class: "tile", tabindex: "-1", "data-run": run.id, "data-state": run.state },
    picture,
    element("figcaption", {}, element("span", { class: "label" }), element("span", { class: "number" })),
    element("div", { class: "tools" }, run.output ? stars : null, run.output ? compare : null),
  );
  tile.addEventListener("focus", () => setCurrent(tile));
  return tile;
}

function media(clip, label, screen) {
  const poster = element("img", {
    src: clip.poster,
    alt: `First frame of ${label}`,
    loading: "lazy",
    decoding: "async",
    width: clip.width,
    height: clip.height,
  });
  const host = element("div", { class: "media", style: `aspect-ratio: ${clip.width} / ${clip.height}` }, poster);
  screen.watch(host, clip);
  return host;
}

function stateCard(run) {
  return element(
    "div",
    { class: "media card", "data-state": run.state },
    element("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[run.state] ?? "!"),
    element("strong", {}, run.state),
    element("span", { class: "reason" }, run.reason),
  );
}

function showTile(run, but, metric) {
  const tile = tiles.get(run.id);
  $(".label", tile).textContent = labelOf(run, but);
  $(".number", tile).textContent = metric && run.output ? numberText(run.metrics[metric]) : "";
  showRating(run);
  return tile;
}

function showRating(run) {
  const tile = tiles.get(run.id);
  const { stars, note } = ratingOf(run);
  const said = stars ? `${stars} of 5 stars` : "not rated";
  if (run.output) {
    $(".stars", tile).textContent = starText(stars);
    $(".stars", tile).setAttribute("aria-label", `Rate ${labelOf(run)}: ${said}`);
    $(".stars", tile).title = note;
  }
  tile.classList.toggle("judged", judged.has(run.id));
  tile.classList.toggle("noted", Boolean(note));
  tile.setAttribute("aria-label", `${labelOf(run)}, ${run.state}, ${said}`);
}

// One tile is in the order of the tab key; arrows go from it to the others.
function setCurrent(tile) {
  for (const other of document.querySelectorAll('.tile[tabindex="0"]')) other.tabIndex = -1;
  if (tile) tile.tabIndex = 0;
}

const currentRun = () => byId.get(document.activeElement?.closest?.(".tile, .pane")?.dataset.run);

// Go to the nearest tile in a direction, by where tiles are on screen.
function moveFocus(dx, dy) {
  const from = document.activeElement?.closest?.(".tile");
  if (!from) return $('.tile[tabindex="0"]')?.focus();
  const centre = (tile) => {
    const box = tile.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  const [x, y] = centre(from);
  let [best, least] = [null, Infinity];
  for (const tile of document.querySelectorAll("#cells .tile")) {
    const [u, v] = centre(tile);
    const [along, across] = dx ? [(u - x) * dx, Math.abs(v - y)] : [(v - y) * dy, Math.abs(u - x)];
    if (along > 4 && along + 4 * across < least) [best, least] = [tile, along + 4 * across];
  }
  best?.focus();
  best?.scrollIntoView({ block: "nearest", inline: "nearest" });
}
