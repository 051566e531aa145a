// The episode player: two agents in the same episode, one above the other, scrubbed through time. It follows lanes.js.

const STEP = 250; // ms of an arrow key; with Shift LEAP
const LEAP = 5000;
const SPEED = 2; // of playing

// --- words

const agentOf = (deck) => state.scenario.agents[find(`player-agent-${deck}`).value];

/** The planner's explanation of the last decision at the cursor, with its time and number; null where it has none. */
function decision(film) {
  if (!film?.explained?.length) return null;
  const number = Math.min(lastAt(film.decisions.time, state.time), film.explained.length - 1);
  return { ...film.explained[number], number, time: film.decisions.time[number] };
}

/** Played and stalled ms up to the cursor. */
function watched(film) {
  const screen = state.scenario.lanes.length - 1;
  let [played, stalled] = [0, 0];
  for (const span of film.spans) {
    if (span.lane !== screen || span.from >= state.time) continue;
    const length = Math.min(span.to, state.time) - span.from;
    if (span.kind === STALL) stalled += length;
    else played += length;
  }
  return { played, stalled };
}

function totals(film) {
  const { played, stalled } = watched(film);
  const { time, return: returns, downloaded, wasted } = film.decisions;
  const now = lastAt(time, state.time);
  return `return ${signed(returns[now] / 100)}, played ${seconds(played)} s, stalled ${seconds(stalled)} s, ` +
    `wasted ${seconds(wasted[now])} of ${seconds(downloaded[now])} Mbit`;
}

/** A span in words. */
function describe(span) {
  const what = { [STALL]: "stall, waiting for", [CANCELLED]: "cancelled", [ABORTED]: "aborted" }[span.kind] ?? "";
  const as = span.representation < 0 ? "" : ` as ${state.scenario.representations[span.representation]}`;
  return `${what} ${span.name}${as}${span.wasted ? ", wasted" : ""}`.trim();
}

/** What each lane does at the cursor, for those who do not see the lanes. */
function situation(film) {
  const { lanes } = state.scenario;
  return lanes.map((lane, i) => {
    const spans = film.spans.filter((span) => span.lane === i && span.from <= state.time && state.time < span.to);
    return `${lane}: ${spans.map(describe).join(", ") || "idle"}`;
  }).join("; ");
}

function tableOf(caption, headings, rows) {
  const table = make("table");
  table.append(make("caption", caption));
  const head = table.createTHead().insertRow();
  for (const heading of headings) head.append(make("th", heading, { scope: "col" }));
  const body = table.createTBody();
  for (const { cells, share, chosen } of rows) {
    const row = body.insertRow();
    if (chosen) row.className = "chosen";
    cells.forEach((cell, i) => {
      row.append(make("td", cell, i === 0 ? { class: "name" } : {}));
      if (i === 1 && share !== undefined) {
        row.lastChild.className = "bar";
        row.lastChild.style.setProperty("--share", `${100 * share}%`);
      }
    });
  }
  const box = make("div");
  box.append(table);
  return box;
}

function explain(deck) {
  const film = state.films[deck];
  const details = find(`mind-${deck}`);
  const decided = decision(film);
  details.hidden = !decided;
  if (!decided || details.dataset.shown === `${decided.number}`) return;
  details.dataset.shown = decided.number;
  details.querySelector("summary").textContent =
    `${agentOf(deck)}, decision ${decided.number} at ${(decided.time / 1000).toFixed(2)} s: ${decided.choice}`;
  const considered = decided.considered.map(([name, share, gain]) => ({
    cells: [name, `${Math.round(100 * share)} %`, gain === null ? "dropped" : signed(gain)],
    share,
    chosen: name === decided.choice,
  }));
  const when = (time) => (time === null ? "\u2013" : time.toFixed(2));
  const planned = decided.schedule.map(([video, chunk, where, share, ...times]) => ({
    cells: [`${video}.${chunk} ${where}`, `${Math.round(100 * share)} %`, ...times.map(when)],
    share,
  }));
  details.querySelector(".mind").replaceChildren(
    tableOf("What it looked at: share of the simulations, QoE over its rollout policy", ["action", "share", "gain"], considered),
    tableOf("What follows: share of the futures, seconds from then",
      ["chunk", "share", "sent", "arrives", "decoded", "plays"], planned),
  );
}

// --- time

let quiet = null;

function show() {
  const clock = `${seconds(state.time)} of ${seconds(state.end)} s`;
  find("clock").textContent = clock;
  find("scrubber").value = state.time;
  find("scrubber").setAttribute("aria-valuetext", clock);
  drawOverview();
  for (const [deck, film] of state.films.entries()) {
    drawDeck(deck);
    explain(deck);
    find(`totals-${deck}`).textContent = film ? totals(film) : "did not play this episode";
    if (film) find(`lanes-${deck}`).setAttribute("aria-label", `Lanes at ${clock}. ${situation(film)}`);
  }
  clearTimeout(quiet);
  quiet = setTimeout(() => {
    const [film] = state.films;
    if (film && !state.started) find("said").textContent = `${clock}. ${totals(film)}. ${situation(film)}`;
  }, 600);
}

function seek(time) {
  state.time = Math.max(0, Math.min(time, state.end));
  show();
}

/** To the decision of the agent above that is before or after the cursor. */
function stepDecision(direction) {
  const times = state.films[0]?.decisions.time ?? [];
  const next = direction > 0
    ? times.find((time) => time > state.time)
    : times.findLast((time) => time < state.time);
  if (next !== undefined) seek(next);
}

function play(on) {
  state.started = on ? { clock: performance.now(), time: state.time >= state.end ? 0 : state.time } : null;
  find("play").textContent = on ? "Pause" : "Play";
  find("play").setAttribute("aria-pressed", on);
  if (on) requestAnimationFrame(advance);
}

function advance(now) {
  if (!state.started) return;
  seek(state.started.time + SPEED * Math.max(0, now - state.started.clock));
  if (state.time >= state.end) play(false);
  else requestAnimationFrame(advance);
}

const KEYS = {
  ArrowLeft: (shift) => seek(state.time - (shift ? LEAP : STEP)),
  ArrowRight: (shift) => seek(state.time + (shift ? LEAP : STEP)),
  Home: () => seek(0),
  End: () => seek(state.end),
  ",": () => stepDecision(-1),
  ".": () => stepDecision(1),
  " ": () => play(!state.started),
};

find("player").addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.altKey || event.metaKey || target.closest("select, .mind")) return;
  if (key === " " && target.closest("button, summary")) return;
  const name = { "<": ",", ">": "." }[key] ?? key;
  if (!(name in KEYS)) return;
  event.preventDefault();
  if (name !== " ") play(false);
  KEYS[name](event.shiftKey);
});
find("scrubber").addEventListener("input", () => seek(Number(find("scrubber").value)));
find("play").addEventListener("click", () => play(!state.started));
find("previous").addEventListener("click", () => stepDecision(-1));
find("next").addEventListener("click", () => stepDecision(1));
find("window").addEventListener("change", show);

/** Scrub by pointer: `time` tells the time at an x of the canvas. */
function scrubOn(canvas, time) {
  const go = (event) => {
    play(false);
    seek(time(event.offsetX));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    go(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) go(event);
  });
}

scrubOn(find("overview"), (x) => ((x - GUTTER) / (find("overview").clientWidth - GUTTER - 8)) * state.end);

// --- decks

/** The chunk under the pointer, in words beside it. */
function pointAt(deck, event) {
  const film = state.films[deck];
  const { start, length } = frame();
  const time = start + ((event.offsetX - GUTTER) / (event.target.clientWidth - GUTTER)) * length;
  const lane = Math.floor((event.offsetY - TOP) / LANE);
  const row = Math.floor((((event.offsetY - TOP) % LANE) - 3) / ((LANE - 6) / (lane === 0 ? film?.rows : 1)));
  const span = film?.spans.find((one) => one.lane === lane && one.row === row && one.from <= time && time < one.to);
  const tip = find("tip");
  tip.hidden = !span || event.offsetX < GUTTER;
  if (tip.hidden) return;
  tip.textContent = `${describe(span)}: ${(span.from / 1000).toFixed(2)} to ${(span.to / 1000).toFixed(2)} s`;
  tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${event.clientY + 16}px`;
}

for (const deck of [0, 1]) {
  const figure = make("figure", "", { class: "deck" });
  const caption = make("figcaption");
  caption.append(make("span", "", { id: `agent-${deck}` }), make("small", "", { id: `totals-${deck}` }));
  const canvas = make("canvas", "", { id: `lanes-${deck}`, role: "img", tabindex: "0" });
  const details = make("details", "", { id: `mind-${deck}`, open: "" });
  details.append(make("summary"), make("div", "", { class: "mind" }));
  figure.append(caption, canvas);
  find("decks").append(figure);
  find("minds").append(details);
  scrubOn(canvas, (x) => frame().start + ((x - GUTTER) / (canvas.clientWidth - GUTTER)) * frame().length);
  canvas.addEventListener("pointermove", (event) => pointAt(deck, event));
  canvas.addEventListener("pointerleave", () => (find("tip").hidden = true));
}

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name, i) => new Option(name, i, i === chosen, i === chosen)));
}

function drawLegend() {
  const entries = state.scenario.representations.map((name, i) => [name, "", state.scenario.colours[i]]);
  const marks = [["stall", "stall"], ["wasted", "wasted"], ["swipe (red: out of patience)", "swipe"]];
  const planned = state.films.some((film) => film?.explained?.length) ? [["planned", "planned"]] : [];
  find("legend").replaceChildren(...[...entries, ...marks, ...planned].map(([name, kind, colour]) => {
    const item = make("li");
    const swatch = make("i", "", { class: kind });
    if (colour) swatch.style.background = colour;
    item.append(swatch, name);
    return item;
  }));
}

function chooseScenario(number) {
  state.scenario = index.scenarios[number];
  const { agents, agent, rival, episodes } = state.scenario;
  const whose = rival === null ? `QoE of ${agent}` : `advantage of ${agent} over ${rival}`;
  find("chosen-by").textContent =
    `Sessions are chosen by the ${whose}, of the return: its percentiles over this scenario's sessions.`;
  fill(find("player-episode"), episodes.map(([seed, percentile, advantage]) =>
    `${percentile.toFixed(0)}th percentile: ${signed(advantage)} (seed ${seed})`), Math.floor(episodes.length / 2));
  fill(find("player-agent-0"), agents, agents.indexOf(agent));
  fill(find("player-agent-1"), agents, Math.max(agents.indexOf(rival), 0));
  return chooseEpisode();
}

async function chooseEpisode() {
  play(false);
  const { scenario } = state;
  const [seed] = scenario.episodes[find("player-episode").value];
  const films = JSON.parse(await unpack(`episode-${index.scenarios.indexOf(scenario)}-${seed}`));
  if (state.scenario !== scenario) return;
  state.films = [0, 1].map((deck) => {
    const packed = films[find(`player-agent-${deck}`).value];
    const film = packed && develop(packed);
    const score = film ? ` \u00b7 return ${film.return.toFixed(1)}` : "";
    find(`agent-${deck}`).textContent = agentOf(deck) + score;
    delete find(`mind-${deck}`).dataset.shown;
    return film;
  });
  state.end = Math.max(1, ...state.films.map((film) => film?.end ?? 1));
  find("scrubber").max = state.end;
  drawLegend();
  seek(Math.min(state.time, state.end));
}

/** The player follows the page's scenario, where that is one. */
function follow() {
  const number = Number(find("view").value) - index.first;
  if (number < 0 && state.scenario) return;
  find("player-scenario").value = Math.max(number, 0);
  chooseScenario(Math.max(number, 0));
}

fill(find("player-scenario"), index.scenarios.map(({ name }) => name), 0);
find("window").value = innerWidth < 640 ? "10000" : "20000";
find("player-scenario").addEventListener("change", () => chooseScenario(Number(find("player-scenario").value)));
for (const id of ["player-episode", "player-agent-0", "player-agent-1"]) find(id).addEventListener("change", chooseEpisode);
find("view").addEventListener("change", follow);
darkness.addEventListener("change", show);
addEventListener("resize", show);
follow();
