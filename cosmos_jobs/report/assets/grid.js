// The grid: any two axes as rows and columns, the others as filters.

const NONE = "";
const view = { rows: NONE, columns: NONE, filters: {}, state: NONE, stars: NONE, sort: "order", metric: NONE, width: 200 };

function startGrid() {
  const keys = doc.axes.map((axis) => axis.key);
  const [first, second] = [...new Set(["prompt", "weights", ...keys])].filter((key) => keys.includes(key));
  // One axis alone is a row of a few columns, or fills the page line by line.
  const few = first && doc.axes[axisNumber(first)].values.length <= 6;
  view.rows = second ? first : NONE;
  view.columns = second ?? (few ? first : NONE);
  view.metric = doc.metrics[0]?.name ?? NONE;
  view.width = fittingWidth();
  layOut();
}

function layOut() {
  showSettings();
  const chosen = sorted(runs.filter(matches), view.sort);
  const but = [view.rows, view.columns];
  const columns = valuesOf(view.columns, chosen);
  const table = element("table", { style: `--tile: ${view.width}px; --columns: ${columns.length}` });
  if (view.columns) {
    const heads = columns.map((value) => element("th", { scope: "col" }, shown(value)));
    table.append(element("thead", {}, element("tr", {}, ...heads)));
  }
  const body = element("tbody", {});
  for (const value of valuesOf(view.rows, chosen)) {
    const inRow = chosen.filter((run) => !view.rows || valueAt(run, view.rows) === value);
    if (view.rows) body.append(rowHead(value, columns.length));
    const cells = columns.map((each) => {
      const inCell = inRow.filter((run) => !view.columns || valueAt(run, view.columns) === each);
      return element("td", {}, element("div", { class: "cell" }, ...inCell.map((run) => showTile(run, but, view.metric))));
    });
    body.append(element("tr", {}, ...cells));
  }
  table.append(body);
  $("#cells").replaceChildren(table);
  $("#none").hidden = chosen.length > 0;
  setCurrent($("#cells .tile"));
}

// As wide as fits without a scroll bar: 160 to 480 pixels.
function fittingWidth() {
  const perCell = Map.groupBy(runs, (run) => `${valueAt(run, view.rows)} ${valueAt(run, view.columns)}`);
  const across = valuesOf(view.columns, runs).length * Math.max(1, ...[...perCell.values()].map((each) => each.length));
  return Math.min(480, Math.max(view.columns ? 160 : 240, 20 * Math.floor(($("main").clientWidth / across - 24) / 20)));
}

// What a prompt's name stands for is said in its row, unless it stands for several texts.
function rowHead(value, columns) {
  const named = Object.values(doc.prompts).filter((each) => view.rows === "prompt" && each.name === value);
  const texts = new Set(named.map((each) => each.text));
  const head = element("th", { scope: "rowgroup", colspan: Math.max(1, columns) }, element("span", {}, shown(value)));
  if (texts.size === 1) head.append(element("small", {}, ...texts));
  return element("tr", { class: "head" }, head);
}

function valuesOf(key, chosen) {
  if (!key) return [null];
  const there = new Set(chosen.map((run) => valueAt(run, key)));
  return doc.axes[axisNumber(key)].values.filter((value) => there.has(value));
}

function matches(run) {
  if (view.state && run.state !== view.state) return false;
  if (view.stars === "unrated" && starsOf(run) !== null) return false;
  if (Number(view.stars) > (starsOf(run) ?? 0)) return false;
  return Object.entries(view.filters).every(
    ([key, number]) => key === view.rows || key === view.columns || run.at[axisNumber(key)] === Number(number),
  );
}

function showSettings() {
  const axes = doc.axes.map((axis) => [axis.key, axis.title]);
  const set = (name) => (value) => {
    // An axis that is chosen for both would show one twice: the two change places.
    if (name === "rows" && value && value === view.columns) view.columns = view.rows;
    if (name === "columns" && value && value === view.rows) view.rows = view.columns;
    view[name] = value;
    const focused = document.activeElement?.getAttribute("aria-label");
    layOut();
    if (focused) $(`#settings [aria-label="${CSS.escape(focused)}"]`)?.focus();
  };
  const states = [...new Set(runs.map((run) => run.state))].map((state) => [state, state]);
  const stars = [[NONE, "any"], ["unrated", "unrated"], ...[1, 2, 3, 4, 5].map((each) => [String(each), `≥ ${each}`])];
  const metrics = doc.metrics.map((metric) => [metric.name, metric.title]);
  const filters = doc.axes
    .filter((axis) => axis.key !== view.rows && axis.key !== view.columns)
    .map((axis) =>
      choice(axis.title, [[NONE, "all"], ...axis.values.map((value, n) => [String(n), shown(value)])], view.filters[axis.key] ?? NONE, (value) => {
        if (value === NONE) delete view.filters[axis.key];
        else view.filters[axis.key] = value;
        layOut();
      }),
    );
  const size = element("input", { type: "range", min: "100", max: "640", step: "20", "aria-label": "Size" });
  size.value = view.width;
  size.addEventListener("input", () => {
    view.width = Number(size.value);
    $("#cells table").style.setProperty("--tile", `${view.width}px`);
  });
  $("#settings").replaceChildren(
    choice("Rows", [[NONE, "–"], ...axes], view.rows, set("rows")),
    choice("Columns", [[NONE, "–"], ...axes], view.columns, set("columns")),
    ...filters,
    ...(states.length > 1 ? [choice("State", [[NONE, "all"], ...states], view.state, set("state"))] : []),
    choice("Stars", stars, view.stars, set("stars")),
    choice("Sort", [["order", "as in the job"], ["stars", "stars"], ...metrics], view.sort, set("sort")),
    ...(metrics.length ? [choice("Show", [[NONE, "no number"], ...metrics], view.metric, set("metric"))] : []),
    element("label", {}, element("span", {}, "Size"), size),
  );
}
