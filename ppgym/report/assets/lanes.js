// The lanes of the episode player: films unpacked, and drawn onto canvases. They follow page.js and decide nothing.

const LANE = 27; // pixels
const GUTTER = 50; // for the names of the lanes
const TOP = 18; // for the names of the videos
const AXIS = 20;
const [STALL, CANCELLED, ABORTED, WASTED] = [1, 2, 3, 8]; // kinds of spans

const state = { scenario: null, films: [null, null], time: 0, end: 1, started: null };

/** Running sums: the columns of a film hold steps. */
function sums(steps) {
  let sum = 0;
  return steps.map((step) => (sum += step));
}

function develop(packed) {
  const { start, length, lane, row, video, chunk, representation, kind } = packed.spans;
  const spans = sums(start).map((from, i) => ({
    from,
    to: from + length[i],
    lane: lane[i],
    row: row[i],
    representation: representation[i],
    name: `${video[i]}.${chunk[i]}`,
    kind: kind[i] % WASTED,
    wasted: kind[i] >= WASTED,
  }));
  const decisions = Object.fromEntries(Object.entries(packed.decisions).map(([name, steps]) => [name, sums(steps)]));
  return { ...packed, spans, decisions, rows: 1 + Math.max(0, ...row) };
}

/** Index of the last time at or before another, at least 0. */
function lastAt(times, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return Math.max(low - 1, 0);
}

const seconds = (ms) => (ms / 1000).toFixed(1);
const signed = (value) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(1);

// --- drawing

const hatchings = new Map();

/** A hatching in a colour: "/" or "x". */
function hatching(context, colour, shape) {
  const key = colour + shape;
  if (!hatchings.has(key)) {
    const tile = new OffscreenCanvas(7, 7);
    const pen = tile.getContext("2d");
    pen.strokeStyle = colour;
    pen.lineWidth = 1.4;
    pen.beginPath();
    for (const shift of [-7, 0, 7]) {
      pen.moveTo(shift - 1, 8);
      pen.lineTo(shift + 8, -1);
      if (shape === "x") {
        pen.moveTo(shift - 1, -1);
        pen.lineTo(shift + 8, 8);
      }
    }
    pen.stroke();
    hatchings.set(key, context.createPattern(tile, "repeat"));
  }
  return hatchings.get(key);
}

function isLight(colour) {
  const [red, green, blue] = [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 115;
}

/** A canvas ready to be drawn on in CSS pixels. */
function prepare(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = "middle";
  return { context, width, height };
}

/** The stretch of time in the window, the cursor in its middle where the episode allows. */
function frame() {
  const length = Number(find("window").value);
  const start = Math.max(0, Math.min(state.time - length / 2, state.end - length));
  return { start, length };
}

function drawDeck(deck) {
  const film = state.films[deck];
  const { lanes } = state.scenario;
  const { context, width, height } = prepare(find(`lanes-${deck}`), TOP + LANE * lanes.length + AXIS);
  if (!film) return;
  const { start, length } = frame();
  const scale = (width - GUTTER) / length;
  const at = (time) => GUTTER + (time - start) * scale;
  const bottom = TOP + LANE * lanes.length;
  const ink = shade("ink");
  const muted = shade("muted");

  for (const [i, lane] of lanes.entries()) {
    context.fillStyle = shade("lane");
    context.fillRect(GUTTER, TOP + i * LANE + 2, width - GUTTER, LANE - 4);
    context.fillStyle = ink;
    context.textAlign = "left";
    context.fillText(lane, 0, TOP + (i + 0.5) * LANE);
  }
  context.save();
  context.beginPath();
  context.rect(GUTTER, 0, width - GUTTER, height);
  context.clip();
  const near = film.spans.filter((span) => span.to >= start && span.from <= start + length);
  for (const span of near) drawSpan(context, film, span, at);
  context.fillStyle = shade("veil");
  context.fillRect(at(state.time), TOP, width, bottom - TOP);
  drawPlan(context, film, at);
  for (const span of near) drawName(context, film, span, at);
  drawVideos(context, film, at, start, start + length, bottom);
  context.fillStyle = muted;
  context.textAlign = "center";
  const step = [1000, 2000, 5000, 10000, 20000].find((each) => each * scale > 48) ?? 40000;
  for (let tick = Math.ceil(start / step) * step; tick <= start + length; tick += step) {
    const x = at(tick);
    if (x > GUTTER + 14 && x < width - 14) context.fillText(`${tick / 1000} s`, x, bottom + AXIS / 2 + 2);
  }
  drawCursor(context, at(state.time), TOP, bottom);
  context.restore();
}

function place(film, span, at) {
  const rows = span.lane === 0 ? film.rows : 1;
  const height = (LANE - 6) / rows;
  return [at(span.from), TOP + span.lane * LANE + 3 + span.row * height, at(span.to) - at(span.from), height];
}

function drawSpan(context, film, span, at) {
  const [x, y, width, height] = place(film, span, at);
  const stalled = span.kind === STALL;
  const colour = stalled ? shade("stall") : state.scenario.colours[span.representation];
  context.fillStyle = stalled ? shade("stall-back") : span.wasted ? shade("card") : colour;
  context.fillRect(x, y, Math.max(width - 1, 1), height);
  if (stalled || span.wasted) {
    context.fillStyle = hatching(context, colour, stalled ? "/" : "x");
    context.fillRect(x, y, Math.max(width - 1, 1), height);
    context.strokeStyle = colour;
    context.lineWidth = 1;
    context.strokeRect(x + 0.5, y + 0.5, Math.max(width - 2, 1), height - 1);
  }
}

/** A chunk's name on its box, where it fits; above the veil over what is to come. */
function drawName(context, film, span, at) {
  const [x, y, width, height] = place(film, span, at);
  const room = context.measureText(span.name).width;
  if (span.kind === STALL || width < room + 6 || height < 12) return;
  context.textAlign = "center";
  if (span.wasted) {
    context.fillStyle = shade("card");
    context.fillRect(x + width / 2 - room / 2 - 2, y + 3, room + 4, height - 6);
  }
  const plain = span.wasted || (span.from + span.to) / 2 >= state.time;
  context.fillStyle = plain ? shade("ink") : isLight(state.scenario.colours[span.representation]) ? "#1c232d" : "#ffffff";
  context.fillText(span.name, x + width / 2, y + height / 2 + 0.5);
}

/** What the planner has in mind at the cursor, as dashed boxes: on the link, on a unit, on the screen. */
function drawPlan(context, film, at) {
  const decided = decision(film);
  if (!decided) return;
  const { lanes } = state.scenario;
  context.setLineDash([4, 3]);
  context.lineWidth = 1.5;
  context.strokeStyle = shade("ink");
  for (const [, , where, share, request, arrival, ready, play] of decided.schedule) {
    const unit = lanes.indexOf(where.split("@")[1]);
    const boxes = [[0, request, arrival], [unit, arrival, ready], [lanes.length - 1, play, play === null ? null : play + 1]];
    context.globalAlpha = 0.35 + 0.65 * share;
    for (const [lane, from, to] of boxes) {
      if (lane < 0 || from === null || to === null) continue;
      const left = at(decided.time + 1000 * from);
      context.strokeRect(left, TOP + lane * LANE + 5, at(decided.time + 1000 * to) - left, LANE - 10);
    }
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
}

function drawVideos(context, film, at, from, to, bottom) {
  let begun = 0;
  for (const [time, video, impatient] of [...film.swipes, [film.end, film.swipes.length, 0]]) {
    if (time > begun && time > from && begun < to) {
      const [left, right] = [at(Math.max(begun, from)), at(Math.min(time, to))];
      context.fillStyle = shade("muted");
      context.textAlign = "center";
      if (right - left > 54) context.fillText(`video ${video}`, (left + right) / 2, TOP / 2);
      if (video < film.swipes.length) {
        context.fillStyle = shade(impatient ? "stall" : "ink");
        context.fillRect(at(time) - 0.75, TOP - 4, 1.5, bottom - TOP + 4);
      }
    }
    begun = time;
  }
}

function drawCursor(context, x, top, bottom) {
  context.fillStyle = shade("accent");
  context.fillRect(x - 1, top - 4, 2, bottom - top + 4);
  context.beginPath();
  context.moveTo(x - 5, top - 8);
  context.lineTo(x + 5, top - 8);
  context.lineTo(x, top - 1);
  context.fill();
}

/** The whole episode: a strip of each screen, and the returns below them. */
function drawOverview() {
  const { context, width, height } = prepare(find("overview"), 74);
  const at = (time) => GUTTER + (time / state.end) * (width - GUTTER - 8);
  const returns = state.films.flatMap((film) => (film ? film.decisions.return : []));
  const [low, high] = [Math.min(0, ...returns), Math.max(1, ...returns)];
  const level = (value) => height - 5 - ((value - low) / (high - low)) * (height - 36);
  const { start, length } = frame();
  context.fillStyle = shade("lane");
  context.fillRect(at(start), 0, at(Math.min(start + length, state.end)) - at(start), height);
  context.textAlign = "left";
  context.fillStyle = shade("muted");
  context.fillText("above", 0, 6);
  context.fillText("below", 0, 20);
  context.fillText("return", 0, height - 14);
  for (const [deck, film] of state.films.entries()) {
    if (!film) continue;
    for (const span of film.spans) {
      if (span.lane !== state.scenario.lanes.length - 1) continue;
      context.fillStyle = span.kind === STALL ? shade("stall") : state.scenario.colours[span.representation];
      context.fillRect(at(span.from), 1 + 14 * deck, Math.max(at(span.to) - at(span.from), 0.5), 10);
    }
    context.strokeStyle = shade(deck ? "muted" : "ink");
    context.lineWidth = 1.75;
    context.setLineDash(deck ? [4, 3] : []);
    context.beginPath();
    film.decisions.time.forEach((time, i) => context.lineTo(at(time), level(film.decisions.return[i])));
    context.stroke();
  }
  context.setLineDash([]);
  drawCursor(context, at(state.time), 8, height);
}
