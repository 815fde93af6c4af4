// What the page shows: runs, the axes on which they differ, their order and numbers.

const doc = JSON.parse($("#document").textContent);
const runs = doc.runs.map((run, order) => ({ ...run, order, params: { ...doc.params, ...run.params } }));
const byId = new Map(runs.map((run) => [run.id, run]));
const metricOf = new Map(doc.metrics.map((metric) => [metric.name, metric]));

const shown = (value) => (value === null || value === "" ? "–" : String(value));

const axisNumber = (key) => doc.axes.findIndex((axis) => axis.key === key);

function valueAt(run, key) {
  const number = axisNumber(key);
  return number < 0 ? null : doc.axes[number].values[run.at[number]];
}

// What sets a run apart, but for the axes that are said elsewhere.
function labelOf(run, but = []) {
  const parts = doc.axes
    .filter((axis) => !but.includes(axis.key) && shown(valueAt(run, axis.key)) !== "–")
    .map((axis) => {
      const value = shown(valueAt(run, axis.key));
      return ["prompt", "text", "video", "weights", "engine"].includes(axis.key) ? value : `${axis.title} ${value}`;
    });
  return parts.join(" · ") || (but.length ? "" : run.place);
}

// What sets a run apart from those that it is shown beside.
function labelAmong(run, members) {
  const same = doc.axes.filter((axis, number) => members.every((each) => each.at[number] === run.at[number]));
  return labelOf(run, same.map((axis) => axis.key)) || run.place;
}

const weightOf = (run, control) => run.weights[control] ?? 0;

const numeric = (key) =>
  doc.axes.some((axis) => axis.key === key && axis.values.every((value) => typeof value === "number"));

function numberText(value) {
  if (value === undefined || value === null) return "–";
  return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

// 1 where a larger number comes first, -1 where a smaller one does.
const direction = (metric) => (metricOf.get(metric)?.better < 0 ? -1 : 1);

function sorted(list, by) {
  const rank = (run) => (by === "stars" ? starsOf(run) : run.metrics[by]);
  if (by === "order") return [...list].sort((a, b) => a.order - b.order);
  const sign = by === "stars" ? 1 : direction(by);
  return [...list].sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    if (x == null || y == null) return (x == null) - (y == null) || a.order - b.order;
    return sign * (y - x) || a.order - b.order;
  });
}

function median(values) {
  const order = [...values].sort((a, b) => a - b);
  const middle = order.length >> 1;
  return order.length % 2 ? order[middle] : (order[middle - 1] + order[middle]) / 2;
}

// Those points that no other one beats in x and y at once, from left to right.
function paretoFront(points, signX, signY) {
  const order = [...points].sort((a, b) => signX * (b.x - a.x) || signY * (b.y - a.y));
  let best = -Infinity;
  const front = order.filter((point) => {
    if (signY * point.y <= best) return false;
    best = signY * point.y;
    return true;
  });
  return front.sort((a, b) => a.x - b.x);
}
