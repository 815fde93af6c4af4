// The keyboard: one table for what keys do and for the help that lists them.

function startKeys(playback, actions) {
  const onRun = (act) => () => {
    const run = currentRun();
    if (run) act(run);
    else say("Go to a run first: with the arrows.");
  };
  const keys = [
    ["Space, k", "play or pause", playback.toggle, [" ", "k"]],
    [", .", "one frame back or on", null, []],
    ["", "", () => playback.step(-1), [","]],
    ["", "", () => playback.step(1), ["."]],
    ["j l", "ten frames back or on", null, []],
    ["", "", () => playback.step(-10), ["j"]],
    ["", "", () => playback.step(10), ["l"]],
    ["Home End", "first or last frame", null, []],
    ["", "", () => playback.seek(0), ["Home"]],
    ["", "", () => playback.seek(playback.frames - 1), ["End"]],
    ["[ ]", "slower or faster", null, []],
    ["", "", () => actions.speed(-1), ["["]],
    ["", "", () => actions.speed(1), ["]"]],
    ["o", "loop or not", () => playback.set("loop", !playback.loop), ["o"]],
    ["Arrows", "to another run", null, []],
    ["", "", () => moveFocus(-1, 0), ["ArrowLeft"]],
    ["", "", () => moveFocus(1, 0), ["ArrowRight"]],
    ["", "", () => moveFocus(0, -1), ["ArrowUp"]],
    ["", "", () => moveFocus(0, 1), ["ArrowDown"]],
    ["Enter", "show this run large", onRun((run) => actions.open([run.id])), ["Enter"]],
    ["c", "compare this run, or not", onRun((run) => run.output && choose(run.id, !chosen.includes(run.id))), ["c"]],
    ["1 … 5", "stars for this run", null, []],
    ...[1, 2, 3, 4, 5].map((stars) => ["", "", onRun((run) => rate(run, { stars })), [String(stars)]]),
    ["0", "take its stars away", onRun((run) => rate(run, { stars: null })), ["0"]],
    ["n", "write a note on it", onRun((run) => actions.note(run)), ["n"]],
    ["g v p", "grid, compare, plots", null, []],
    ["", "", () => actions.show("grid"), ["g", "Escape"]],
    ["", "", () => actions.show("compare"), ["v"]],
    ["", "", () => actions.show("plots"), ["p"]],
    ["w", "wipe between the first two", actions.wipe, ["w"]],
    ["e", "export ratings", exportRatings, ["e"]],
    ["d", "light or dark", actions.theme, ["d"]],
    ["?", "these keys", actions.help, ["?"]],
  ];
  const table = element("table", {});
  for (const [names, does] of keys.filter(([names]) => names)) {
    table.append(element("tr", {}, element("th", { scope: "row" }, names), element("td", {}, does)));
  }
  const close = element("button", { type: "button", onclick: () => $("#keys").close() }, "Close");
  $("#keys").replaceChildren(element("h2", {}, "Keys"), table, close);
  const by = new Map(keys.flatMap(([, , act, names]) => names.map((name) => [name, act])));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || takesKeys(event)) return;
    const act = by.get(event.key);
    if (!act) return;
    event.preventDefault();
    act.call(playback);
  });
}

// Fields keep their own keys, and a button its Enter and Space; an open dialog keeps all.
function takesKeys(event) {
  if ($("dialog[open]")) return true;
  const { target, key } = event;
  if (target.matches("textarea, select, input:not([type=checkbox])")) return key !== "Escape" || target.matches("select");
  return target.matches("button, summary, input, a, circle") && ["Enter", " "].includes(key);
}
