// Two to four runs large and in step, beside what they were made of, their differences marked.

const MOST = 4;
const chosen = [];
const comparing = { wipe: false, differences: true };

function choose(id, wanted) {
  const at = chosen.indexOf(id);
  if (wanted && at < 0) {
    if (chosen.length === MOST) {
      $("input", tiles.get(id)).checked = false;
      return say(`At most ${MOST} runs can be compared.`);
    }
    chosen.push(id);
  } else if (!wanted && at >= 0) chosen.splice(at, 1);
  showChosen();
}

function showChosen() {
  for (const [id, tile] of tiles) {
    const box = $(".choose input", tile);
    if (box) box.checked = chosen.includes(id);
    tile.classList.toggle("chosen", chosen.includes(id));
  }
  $("#chosen").textContent = chosen.length ? `(${chosen.length})` : "";
}

function showCompare(screen) {
  const section = $("#compare");
  screen.unwatch(section);
  const members = chosen.map((id) => byId.get(id));
  if (!members.length) {
    section.replaceChildren(
      element("p", { class: "notice" }, "Nothing is chosen. Mark two to four runs in the grid (key c), then come back."),
    );
    return;
  }
  const videos = members.filter((run) => run.output);
  const canWipe = videos.length > 1;
  const again = (change) => {
    Object.assign(comparing, change);
    showCompare(screen);
  };
  const switches = element(
    "div",
    { class: "toolbar" },
    canWipe ? toggle("Wipe between the first two", "wipe", again) : null,
    members.length > 1 ? toggle("Only differences", "differences", again) : null,
  );
  const first = canWipe && comparing.wipe ? [wipe(videos[0], videos[1], screen)] : [];
  section.replaceChildren(
    switches,
    ...first,
    element(
      "div",
      { class: "panes", "data-count": members.length },
      ...members.map((run) => pane(run, screen, canWipe && comparing.wipe && videos.indexOf(run) < 2)),
    ),
    beside(members, screen),
    facts(members),
  );
}

function toggle(title, name, again) {
  const box = element("input", { type: "checkbox", id: name, onchange: () => again({ [name]: box.checked }) });
  box.checked = comparing[name];
  return element("label", { class: "switch" }, box, title);
}

function pane(run, screen, isWiped) {
  const rating = ratingOf(run);
  const stars = element("fieldset", { class: "rating" }, element("legend", {}, "Stars"));
  for (const each of [1, 2, 3, 4, 5]) {
    const radio = element("input", { type: "radio", name: `stars-${run.id}`, value: each });
    radio.checked = rating.stars === each;
    radio.addEventListener("change", () => rate(run, { stars: each }));
    stars.append(element("label", {}, radio, element("span", {}, "★".repeat(each))));
  }
  const note = element("textarea", { rows: "2", maxlength: "2000", placeholder: "Note" });
  note.value = rating.note;
  note.setAttribute("aria-label", `Note on ${labelOf(run)}`);
  note.addEventListener("input", () => rate(run, { note: note.value }));
  const away = element("button", { type: "button", class: "away", "aria-label": `Leave out ${labelOf(run)}` }, "×");
  away.addEventListener("click", () => {
    choose(run.id, false);
    showCompare(screen);
  });
  const seen = run.output ? media(run.output, labelOf(run), screen) : stateCard(run);
  return element(
    "article",
    { class: "pane", "data-run": run.id },
    element("header", {}, element("h2", {}, labelOf(run)), away),
    isWiped ? null : seen,
    ...(run.output ? [stars, note] : []),
    element(
      "details",
      {},
      element("summary", {}, "Make it again"),
      doc.job.path ? command(`cosmos-jobs apply ${quoted(doc.job.path)} --only ${run.id} --force`) : null,
      run.output ? command(`cosmos-jobs reproduce ${run.id}`) : null,
    ),
  );
}

const quoted = (text) => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// Input and maps, each once, with the runs that they belong to where these differ.
function beside(members, screen) {
  const owners = new Map();
  for (const run of members) {
    for (const [name, number] of Object.entries(run.beside)) {
      const key = `${name} ${number}`;
      owners.set(key, { name, clip: doc.clips[number], runs: [...(owners.get(key)?.runs ?? []), run] });
    }
  }
  const order = ["input", ...doc.controls];
  const figures = [...owners.values()]
    .sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
    .map(({ name, clip, runs: its }) => {
      const title = name === "input" ? "input" : `${name} map`;
      const whose = its.length < members.length ? ` of ${its.map((run) => labelAmong(run, members)).join("; ")}` : "";
      return element("figure", {}, media(clip, title, screen), element("figcaption", {}, title + whose));
    });
  return element("div", { class: "beside", role: "group", "aria-label": "Input and control maps" }, ...figures);
}

function facts(members) {
  const rows = [
    ["state", (run) => run.state],
    ["prompt", (run) => doc.prompts[run.prompt]?.text ?? run.prompt],
    ["negative", (run) => doc.prompts[run.prompt]?.negative || null],
    ["video", (run) => doc.prompts[run.prompt]?.video ?? null],
    ...doc.controls.map((control) => [`weight of ${control}`, (run) => weightOf(run, control)]),
    ...paramNames(members).map((name) => [name, (run) => run.params[name] ?? null]),
    ...doc.metrics.map((metric) => [metric.title, (run) => (metric.name in run.metrics ? numberText(run.metrics[metric.name]) : null)]),
    ["run", (run) => run.id],
  ];
  const body = element("tbody", {});
  for (const [name, value] of rows) {
    const values = members.map((run) => shown(value(run)));
    const differs = new Set(values).size > 1;
    if (!differs && members.length > 1 && comparing.differences) continue;
    const mark = element("td", { class: "mark" }, differs ? "≠" : "");
    if (differs) mark.setAttribute("aria-label", "differs");
    body.append(
      element(
        "tr",
        { class: differs ? "differs" : null },
        mark,
        element("th", { scope: "row" }, name),
        ...values.map((each) => element("td", {}, each)),
      ),
    );
  }
  const heads = members.map((run) => element("th", { scope: "col" }, labelAmong(run, members)));
  const head = element("tr", {}, element("td", {}), element("th", { scope: "col" }, "Setting"), ...heads);
  return element("div", { class: "facts", tabindex: "0" }, element("table", {}, element("thead", {}, head), body));
}

const paramNames = (members) => [...new Set(members.flatMap((run) => Object.keys(run.params)))];
