// Stars and notes: those of the store, and what was judged here, which stays in this browser.

const KEPT = `cosmos-jobs:${doc.job.name}`;
const judged = new Map();
const listeners = new Set();

function loadJudged() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch {
    // Private windows keep nothing.
  }
  for (const [id, rating] of Object.entries(kept)) if (byId.has(id)) judged.set(id, rating);
  for (const id of [...judged.keys()]) forgetIfSame(id);
}

const ratingOf = (run) => judged.get(run.id) ?? { stars: run.stars, note: run.note };
const starsOf = (run) => ratingOf(run).stars ?? null;

function rate(run, change) {
  if (!run.output) return say("There is no video to rate.");
  judged.set(run.id, { ...ratingOf(run), ...change });
  forgetIfSame(run.id);
  try {
    localStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(judged)));
  } catch {
    // It is still on the page, and can be exported.
  }
  for (const listener of listeners) listener(run);
}

// What the store has already is no change to export.
function forgetIfSame(id) {
  const run = byId.get(id);
  const { stars, note } = judged.get(id);
  if (stars === run.stars && note === run.note) judged.delete(id);
}

const starText = (stars) => "★".repeat(stars ?? 0) + "☆".repeat(5 - (stars ?? 0));

function ratingsFile() {
  const ratings = [...judged].map(([run, { stars, note }]) => ({ run, stars, note: note.trim() }));
  return `${JSON.stringify({ cosmos_jobs_ratings: 1, ratings }, null, 2)}\n`;
}

function exportRatings() {
  const name = `${doc.job.name}-ratings.json`;
  const link = element("a", { download: name, href: URL.createObjectURL(new Blob([ratingsFile()])) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  const best = `jobs/${doc.job.name}-best.yaml`;
  const close = element("button", { type: "button", onclick: () => $("#exported").close() }, "Close");
  $("#exported").replaceChildren(
    element("h2", {}, "Ratings exported"),
    element("p", {}, `${judged.size} judged on this page: ${name} is in your downloads. Next, in the project:`),
    command(`cosmos-jobs rate --import ${name}`),
    command(`cosmos-jobs export --job ${doc.job.name} --best -o ${best}`),
    command(`cosmos-jobs apply ${best}`),
    close,
  );
  $("#exported").showModal();
}
