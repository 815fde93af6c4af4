// Weight against metric, and one metric against another: every point is a run.

const plotted = { x: "", y: "", colour: "", across: "", up: "" };

function loadPlotting() {
  if (window.Plot) return Promise.resolve();
  const inert = $("#plotting");
  const script = element("script", inert ? {} : { src: "assets/plot.js" });
  return new Promise((resolve, reject) => {
    script.addEventListener("load", resolve);
    script.addEventListener("error", reject);
    if (inert) script.textContent = inert.textContent;
    document.head.append(script);
    if (inert) resolve();
  });
}

async function showPlots(screen) {
  const section = $("#plots");
  if (!doc.metrics.length) {
    const what = `cosmos-jobs evaluate ${doc.job.name}`;
    section.replaceChildren(element("p", { class: "notice" }, "Nothing was measured yet. Measure, then write the report anew:"), command(what));
    return;
  }
  await loadPlotting();
  const names = doc.metrics.map((metric) => metric.name);
  const xs = plotAxes();
  plotted.x ||= xs.find(([key]) => spread(key) > 1)?.[0] ?? xs[0][0];
  plotted.y ||= names[0];
  plotted.across ||= names.includes("blur_ssim") ? "blur_ssim" : (names[1] ?? names[0]);
  plotted.up ||= names[0];
  const metrics = doc.metrics.map((metric) => [metric.name, metric.title]);
  const colours = [["", "–"], ...doc.axes.map((axis) => [axis.key, axis.title])];
  const again = (name) => (value) => {
    plotted[name] = value;
    showPlots(screen);
  };
  section.replaceChildren(
    figure("Weight against metric", sweep(), [
      choice("Across", xs, plotted.x, again("x")),
      choice("Up", metrics, plotted.y, again("y")),
      choice("Colour", colours, plotted.colour, again("colour")),
    ]),
    figure("Trade-off", tradeOff(), [
      choice("Across", metrics, plotted.across, again("across")),
      choice("Up", metrics, plotted.up, again("up")),
    ]),
  );
  for (const point of section.querySelectorAll("[data-run]")) hovering(point, screen);
}

const plotAxes = () => [
  ...doc.controls.map((control) => [control, `weight of ${control}`]),
  ...doc.axes.filter((axis) => numeric(axis.key)).map((axis) => [axis.key, axis.title]),
];

const xOf = (run, key) => (doc.controls.includes(key) ? weightOf(run, key) : valueAt(run, key));
const spread = (key) => new Set(runs.map((run) => xOf(run, key))).size;
const axisTitle = (key) => Object.fromEntries(plotAxes())[key] ?? key;

function metricTitle(name) {
  const { title, better } = metricOf.get(name);
  return title + ({ 1: " (higher is better)", "-1": " (lower is better)" }[better] ?? "");
}

function sweep() {
  const points = runs
    .filter((run) => plotted.y in run.metrics)
    .map((run) => ({ run, x: xOf(run, plotted.x), y: run.metrics[plotted.y], c: colourOf(run) }));
  const groups = Map.groupBy(points, ({ x, c }) => JSON.stringify([c, x]));
  const medians = [...groups.values()]
    .map((each) => ({ x: each[0].x, c: each[0].c, y: median(each.map(({ y }) => y)) }))
    .sort((a, b) => a.x - b.x);
  const marks = [Plot.lineY(medians, { x: "x", y: "y", stroke: "c", strokeWidth: 2 }), dots(points, { fill: "c" })];
  return plot(marks, points, axisTitle(plotted.x), metricTitle(plotted.y));
}

const colourOf = (run) => (plotted.colour ? shown(valueAt(run, plotted.colour)) : "all runs");

function tradeOff() {
  const points = runs
    .filter((run) => plotted.across in run.metrics && plotted.up in run.metrics)
    .map((run) => ({ run, x: run.metrics[plotted.across], y: run.metrics[plotted.up] }));
  const [a, b] = [plotted.across, plotted.up].map((name) => metricOf.get(name).better);
  // Where neither high nor low is better, nothing is better than anything.
  const front = a && b ? paretoFront(points, a, b) : [];
  const best = new Set(front.map(({ run }) => run));
  for (const point of points) point.c = best.has(point.run) ? "Pareto front" : "other runs";
  const marks = [Plot.line(front, { x: "x", y: "y", stroke: "var(--accent)", strokeDasharray: "4 3" }), dots(points, { fill: "c" })];
  return plot(marks, points, metricTitle(plotted.across), metricTitle(plotted.up));
}

function dots(points, how) {
  return Plot.dot(points, {
    x: "x",
    y: "y",
    r: 5,
    stroke: "var(--ground)",
    ...how,
    render: (index, scales, values, dimensions, context, next) => {
      const drawn = next(index, scales, values, dimensions, context);
      drawn.querySelectorAll("circle").forEach((circle, n) => {
        const { run, x, y } = points[index[n]];
        circle.dataset.run = run.id;
        circle.setAttribute("tabindex", "0");
        circle.setAttribute("role", "button");
        circle.setAttribute("aria-label", `${labelOf(run)}: ${numberText(x)}, ${numberText(y)}`);
      });
      return drawn;
    },
  });
}

function plot(marks, points, x, y) {
  if (!points.length) return element("p", { class: "notice" }, "No run has both numbers.");
  const colours = [...new Set(points.map(({ c }) => c))];
  const drawn = Plot.plot({
    width: plotWidth(),
    height: Math.min(560, Math.max(320, 0.55 * plotWidth())),
    marginLeft: 56,
    marginBottom: 48,
    grid: true,
    x: { label: x, labelOffset: 44, nice: true, inset: 8 },
    y: { label: y, nice: true, inset: 8 },
    color: { domain: colours, range: PALETTE.slice(0, colours.length), legend: colours.length > 1, unknown: PALETTE.at(-1) },
    style: { background: "transparent", fontSize: "13px", overflow: "visible" },
    marks,
  });
  // The library names its groups, and a name needs a role.
  for (const group of drawn.querySelectorAll("g[aria-label]")) group.setAttribute("role", "group");
  return drawn;
}

function plotWidth() {
  const columns = matchMedia("(min-width: 1200px)").matches ? 2 : 1;
  return Math.max(300, $("#plots").clientWidth / columns - 72);
}

// Okabe and Ito 2008: told apart with every kind of colour vision.
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#9a8f00", "#888888"];

function figure(title, drawn, controls) {
  return element("figure", { class: "plot" }, element("figcaption", {}, element("h2", {}, title)), element("div", { class: "toolbar" }, ...controls), drawn);
}

function hovering(point, screen) {
  const run = byId.get(point.dataset.run);
  const hover = $("#hover");
  const show = () => {
    screen.unwatch(hover);
    const { right, top, left } = point.getBoundingClientRect();
    hover.replaceChildren(media(run.output, labelOf(run), screen), element("p", {}, labelOf(run)));
    hover.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = hover;
    hover.style.left = `${right + 12 + width > innerWidth ? Math.max(8, left - 12 - width) : right + 12}px`;
    hover.style.top = `${Math.min(Math.max(8, top - height / 2), Math.max(8, innerHeight - height - 8))}px`;
    screen.playback.play();
  };
  const hide = () => {
    screen.unwatch(hover);
    hover.hidden = true;
  };
  point.addEventListener("pointerenter", show);
  point.addEventListener("focus", show);
  point.addEventListener("pointerleave", hide);
  point.addEventListener("blur", hide);
  const open = () => {
    hide();
    openRuns([run.id]);
  };
  point.addEventListener("click", open);
  point.addEventListener("keydown", (event) => event.key === "Enter" && open());
}
