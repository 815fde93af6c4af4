// Put it all together.

const playback = new Playback(runs.filter((run) => run.output && !run.output.image).map((run) => run.output));
const screen = new Screen(playback);

function openRuns(ids) {
  chosen.splice(0, chosen.length, ...ids);
  showChosen();
  show("compare");
}

function show(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === name));
  }
  if (name === "compare") showCompare(screen);
  else screen.unwatch($("#compare"));
  if (name === "plots") showPlots(screen);
  if (name === "grid") $('.tile[tabindex="0"]')?.focus({ preventScroll: true });
  $("#hover").hidden = true;
}

function startHeader() {
  const counts = Map.groupBy(runs, (run) => run.state);
  const states = [...counts].map(([state, each]) => `${each.length} ${state}`).join(", ");
  $("#name").textContent = doc.job.name;
  $("#summary").textContent = [doc.job.description, states].filter(Boolean).join(" — ");
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => show(button.dataset.view));
  }
  $("#export").addEventListener("click", exportRatings);
  $("#theme").addEventListener("click", theme);
  $("#help").addEventListener("click", help);
  const told = () => {
    $("#export").textContent = judged.size ? `Export ratings (${judged.size})` : "Export ratings";
  };
  listeners.add(told);
  told();
}

function startTransport() {
  const [scrub, speed, loop] = [$("#scrub"), $("#speed"), $("#loop")];
  scrub.max = playback.frames - 1;
  for (const each of SPEEDS) speed.append(element("option", { value: each }, `${each}×`));
  $("#play").addEventListener("click", () => playback.toggle());
  $("#back").addEventListener("click", () => playback.step(-1));
  $("#forward").addEventListener("click", () => playback.step(1));
  scrub.addEventListener("input", () => {
    playback.pause();
    playback.seek(Number(scrub.value));
  });
  speed.addEventListener("change", () => playback.set("speed", Number(speed.value)));
  loop.addEventListener("change", () => playback.set("loop", loop.checked));
  const time = () => {
    const frame = Math.floor(playback.frame);
    scrub.value = frame;
    $("#frame").textContent = `${frame + 1} / ${playback.frames}`;
  };
  const change = () => {
    $("#transport").classList.toggle("playing", playback.playing);
    $("#play").setAttribute("aria-label", playback.playing ? "Pause" : "Play");
    speed.value = playback.speed;
    loop.checked = playback.loop;
    time();
  };
  playback.addEventListener("time", time);
  playback.addEventListener("change", change);
  change();
}

function theme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
}

function help() {
  $("#keys").showModal();
}

function note(run) {
  if (!chosen.includes(run.id)) openRuns([run.id]);
  else show("compare");
  $(`.pane[data-run="${run.id}"] textarea`)?.focus();
}

function toggleWipe() {
  comparing.wipe = !comparing.wipe;
  if (!$("#compare").hidden) showCompare(screen);
}

function changeSpeed(by) {
  const at = SPEEDS.indexOf(playback.speed) + by;
  if (SPEEDS[at]) playback.set("speed", SPEEDS[at]);
}

loadJudged();
makeTiles(screen, openRuns, choose);
startHeader();
startTransport();
startGrid();
startKeys(playback, { open: openRuns, show, theme, help, note, wipe: toggleWipe, speed: changeSpeed });
addEventListener("resize", () => !$("#plots").hidden && showPlots(screen));
