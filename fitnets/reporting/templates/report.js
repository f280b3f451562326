"use strict";
// The data of the page, written by fitnets/reporting/page_data.py: points, teachers, the paper's results, runs and curves.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const ROWS = 200; // rows of the table that are shown at first

// --- words and numbers ---

const percent = (share) => (share == null ? "-" : (100 * share).toFixed(2) + " %");
// Numbers and durations look as fitnets/console/quantities.py writes them.
function number(value) {
  if (value == null) return "-";
  let rounded = Number(value.toPrecision(3));
  let power = 0;
  for (; Math.abs(rounded) >= 1000 && power < 5; power += 1) rounded /= 1000;
  return `${Number(rounded.toPrecision(3))} ${["", "k", "M", "G", "T", "P"][power]}`.trim();
}
function duration(seconds) {
  if (seconds == null) return "-";
  const whole = Math.round(seconds);
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two((whole % 3600) / 60)} min`;
  const days = Math.floor(whole / 86400);
  return `${days} day${days === 1 ? "" : "s"} ${Math.floor((whole % 86400) / 3600)} h`;
}
// Intervals are cut off at 0 and 100 %. An interval that is cut off is shown by its ends.
const ends = ([mean, halfWidth]) => [Math.max(0, mean - (halfWidth ?? 0)), Math.min(1, mean + (halfWidth ?? 0))];
function withSpread([mean, halfWidth]) {
  if (mean == null || halfWidth == null) return percent(mean);
  const [low, high] = ends([mean, halfWidth]);
  if (mean - halfWidth < -1e-11 || mean + halfWidth > 1 + 1e-11) return `${percent(mean)} (${(100 * low).toFixed(2)} to ${percent(high)})`;
  return `${(100 * mean).toFixed(2)} ± ${percent(halfWidth)}`;
}
const errorBars = (accuracies) => ({
  type: "data", symmetric: false, thickness: 1, width: 3,
  array: accuracies.map((accuracy) => 100 * (ends(accuracy)[1] - accuracy[0])),
  arrayminus: accuracies.map((accuracy) => 100 * (accuracy[0] - ends(accuracy)[0])),
  visible: accuracies.some(([, halfWidth]) => halfWidth != null),
});
const AT_CHANCE = "no better than always naming one class";
const FORMATS = { percent, number, duration, text: (value) => (value == null ? "-" : String(value)) };
// Plotly interprets some HTML tags, so text from a configuration is escaped.
const escaped = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
function wrapped(text, width) {
  const lines = [""];
  for (const word of String(text).split(" ")) {
    const last = lines.length - 1;
    if (lines[last] && lines[last].length + word.length > width) lines.push(word);
    else lines[last] += (lines[last] ? " " : "") + word;
  }
  return lines.map(escaped).join("<br>");
}

// --- the chart ---

// point: index of the point whose details are shown
// filter: index of the point whose runs the table shows; null shows all runs
// run: index of the run whose command and curves are shown
const state = { point: null, filter: null, run: null, sort: null, descending: true, shown: ROWS };
const chosen = (id) => byId(id).value;
const pointsShown = () => data.points.filter((point) => point.task === chosen("task"));

function hover(point) {
  const cost = chosen("cost");
  const command = data.runs[point.runs[0]].command;
  return [
    `<b>${escaped(point.label)}</b>`,
    `${escaped(point.method)}, schedule ${escaped(point.schedule)}, ${point.count}`,
    `validation ${withSpread(point.valid)}, test ${withSpread(point.test)}`,
    `${number(point.costs[cost])} ${escaped(data.costs[cost].unit)}`,
    ...(point.chance ? [AT_CHANCE] : []),
    ...(command ? [wrapped(command, 60)] : []),
  ].join("<br>");
}

function methodTrace(method, points, split) {
  const cost = chosen("cost");
  const [color, symbol] = data.styles[method] ?? ["#222222", "circle"];
  return {
    name: method,
    x: points.map((point) => point.costs[cost]),
    y: points.map((point) => 100 * point[split][0]),
    error_y: errorBars(points.map((point) => point[split])),
    customdata: points.map((point) => data.points.indexOf(point)),
    text: points.map((point) => hover(point)),
    hovertemplate: "%{text}<extra></extra>",
    mode: "markers",
    marker: { color, symbol, size: 9, line: { color: "white", width: 0.5 } },
  };
}

// Latencies of different devices are not comparable, so each device has its own front.
const frontOf = (point, cost) => (cost.startsWith("latency") ? point.device ?? "" : "");

function traces() {
  const split = chosen("split");
  const cost = chosen("cost");
  const points = pointsShown().filter((point) => point[split][0] != null && point.costs[cost] != null);
  const series = [];
  for (const device of new Set(points.map((point) => frontOf(point, cost)))) {
    const front = points.filter((point) => frontOf(point, cost) === device && point.front.includes(cost));
    front.sort((a, b) => a.costs[cost] - b.costs[cost]);
    series.push({
      name: device === "" ? "front (on validation)" : `front on ${escaped(device)}`,
      x: front.map((point) => point.costs[cost]),
      y: front.map((point) => 100 * point[split][0]),
      mode: "lines",
      line: { shape: "hv", color: "#222222", width: 1 },
      hoverinfo: "skip",
    });
  }
  for (const method of Object.keys(data.styles)) {
    const ofMethod = points.filter((point) => point.method === method);
    if (ofMethod.length) series.push(methodTrace(method, ofMethod, split));
  }
  for (const teacher of data.teachers.filter(({ task, [split]: accuracy }) => task === chosen("task") && accuracy[0] != null)) {
    series.push({
      name: `teacher ${escaped(teacher.name)}, ${escaped(teacher.schedule)}${teacher.chance ? `, ${AT_CHANCE}` : ""}`,
      x: [teacher.costs[cost]],
      y: [100 * teacher[split][0]],
      error_y: errorBars([teacher[split]]),
      hovertemplate: `<b>teacher ${escaped(teacher.name)}</b><br>${withSpread(teacher[split])}<br>${number(teacher.costs[cost])} ${escaped(data.costs[cost].unit)}<extra></extra>`,
      mode: "markers",
      marker: { color: "#222222", symbol: "star", size: 14 },
    });
  }
  for (const result of data.paper.filter(({ task, costs }) => task === chosen("task") && costs[cost] != null)) {
    const [color, symbol] = data.styles[result.method] ?? ["#222222", "star"];
    series.push({
      name: `paper: ${result.network}`,
      x: [result.costs[cost]],
      y: [result.accuracy],
      hovertemplate: `<b>the paper's ${result.network}</b> (${result.method})<br>${result.accuracy} %, ${result.source}<extra></extra>`,
      mode: "markers",
      marker: { color, symbol: symbol + "-open", size: 11, line: { width: 1.5 } },
      showlegend: false,
    });
  }
  return series;
}

const narrow = () => window.innerWidth < 600;
const FONT = { family: 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif', color: "#222222", size: 12 };
const ABOVE = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 10 } };
function layout(more) {
  return {
    font: FONT,
    margin: { l: 56, r: 12, t: 10, b: 48 },
    hovermode: "closest",
    hoverlabel: { align: "left", bgcolor: "white", bordercolor: "#999", font: { color: "#222222", size: 12 } },
    legend: narrow() ? ABOVE : { orientation: "v" },
    ...more,
  };
}
const AXIS = { gridcolor: "#e4e4e4", linecolor: "#999", zeroline: false, ticks: "outside", tickcolor: "#999" };
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };

function drawChart() {
  const cost = data.costs[chosen("cost")];
  const split = chosen("split") === "valid" ? "validation" : "test";
  Plotly.react("chart", traces(), layout({
    xaxis: { ...AXIS, type: "log", title: { text: cost.label }, dtick: narrow() ? 1 : undefined, exponentformat: "SI" },
    yaxis: { ...AXIS, title: { text: `${split} accuracy, %` } },
  }), CONFIG);
}

// --- what was clicked ---

function select(point) {
  Object.assign(state, { point, filter: point, run: point == null ? null : data.points[point].runs[0], shown: ROWS });
  drawDetails();
  drawTable();
  drawRing();
}

function selectRun(run) {
  const point = data.points.findIndex(({ runs }) => runs.includes(run));
  Object.assign(state, { run, point: point < 0 ? null : point });
  drawDetails();
  drawRing();
  reveal();
}

// The details lie between chart and table. From a row far down they are out of sight, so the page scrolls to them, and a
// button leads back.
function reveal() {
  const title = byId("details-title");
  title.focus({ preventScroll: true });
  const { top } = title.getBoundingClientRect();
  if (top < 0 || top > window.innerHeight / 2) title.scrollIntoView({ block: "start" });
}

function backToRow() {
  const row = document.querySelector(`#table tr[data-run="${state.run}"]`);
  (row ?? byId("table")).scrollIntoView({ block: "center" });
  row?.querySelector("button").focus({ preventScroll: true });
}

// Draw a ring around the chosen point. It lies over the chart, so the chart is not drawn again.
function drawRing() {
  const chart = byId("chart");
  if (!chart) return;
  const point = state.point == null ? null : data.points[state.point];
  const value = point?.[chosen("split")][0];
  const cost = point?.costs[chosen("cost")];
  const ring = byId("ring");
  ring.hidden = value == null || cost == null || point.task !== chosen("task");
  if (ring.hidden) return;
  const { xaxis, yaxis } = chart._fullLayout;
  ring.style.left = `${xaxis._offset + xaxis.d2p(cost)}px`;
  ring.style.top = `${yaxis._offset + yaxis.d2p(100 * value)}px`;
}

// The facts about the configuration, if it has finished runs, and about the run.
function facts(run, point) {
  const hint = data.hints[run.run];
  return {
    status: run.status,
    "validation accuracy": point ? withSpread(point.valid) : percent(run.valid),
    "test accuracy": point && point.test[0] != null ? withSpread(point.test) : "not evaluated",
    "multiplications of one image": number(run.multiplications),
    parameters: number(run.parameters),
    "latency of 1 and of 128 images": run.latency_ms == null ? "-" : `${number(run.latency_ms)} ms, ${number(run.latency_128_ms)} ms`,
    ...(point?.chance && { validation: AT_CHANCE }),
    seeds: point ? point.count : "-",
    "method, seed": `${run.method ?? "?"}, ${run.seed ?? "?"}`,
    ...(hint && { "hint loss": `${percent(hint.left)} of its first value; within 5 % of its best from epoch ${hint.plateau_epoch} of ${hint.epochs}` }),
    ...(run.note && { note: run.note }),
  };
}

const afterPaint = (action) => requestAnimationFrame(() => setTimeout(action));

function drawDetails() {
  byId("details").hidden = state.run == null;
  if (state.run == null) return;
  const point = state.point == null ? null : data.points[state.point];
  const run = data.runs[state.run];
  byId("details-title").textContent = point ? `${point.label} (${point.method})` : `${run.label ?? run.run ?? "a trial without a run"}`;
  byId("details-facts").replaceChildren(...Object.entries(facts(run, point)).map(([name, value]) => {
    const [entry, term, text] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    term.textContent = name;
    text.textContent = value;
    entry.append(term, text);
    return entry;
  }));
  byId("details-run").textContent = run.run ?? "";
  byId("details-folder").textContent = run.folder ? `, in ${run.folder}` : "";
  byId("command").textContent = run.command ?? "not known: the run was not started from a command line";
  byId("copy").hidden = run.command == null;
  drawClasses(data.confusions[run.run]);
  const stages = data.curves[run.run];
  byId("curves-title").hidden = !stages;
  byId("curves").hidden = !stages;
  // The curves take longer to draw than everything else, so they are drawn after the rest is visible.
  if (stages) afterPaint(() => { if (run === data.runs[state.run]) drawCurves(stages); });
}

// For each class: the number of its images, the accuracy, and the class that its other images are most often taken for.
function perClass(counts, names) {
  return counts.map((row, index) => {
    const images = row.reduce((sum, count) => sum + count, 0);
    const wrong = row.map((count, other) => (other === index ? 0 : count));
    const most = wrong.indexOf(Math.max(...wrong));
    return {
      name: names[index], images, accuracy: images ? row[index] / images : null,
      confused: wrong[most] ? `${names[most]} (${wrong[most]})` : "-",
    };
  });
}

function drawClasses(matrices) {
  byId("classes").hidden = !matrices;
  if (!matrices) return;
  const wanted = byId("split") ? chosen("split") : "test";
  const split = matrices[wanted] ? wanted : matrices.test ? "test" : "valid";
  const counts = matrices[split];
  const names = matrices.classes ?? counts.map((_, index) => `class ${index}`);
  byId("classes-title").textContent = `Accuracy of each class, on ${split === "valid" ? "validation" : "test"}`;
  byId("classes-table").tBodies[0].replaceChildren(...perClass(counts, names).map((row) => {
    const line = document.createElement("tr");
    for (const [text, kind] of [[row.name, ""], [row.images, "number"], [percent(row.accuracy), "number"], [row.confused, ""]]) {
      const cell = line.insertCell();
      cell.textContent = text;
      cell.className = kind;
    }
    return line;
  }));
  const run = state.run;
  afterPaint(() => { if (run === state.run) drawConfusion(counts, names); });
}

function drawConfusion(counts, names) {
  const shares = counts.map((row) => {
    const images = row.reduce((sum, count) => sum + count, 0);
    return row.map((count) => (images ? count / images : 0));
  });
  const texts = counts.map((row, index) => row.map((count, other) =>
    `${escaped(names[index])} taken for ${escaped(names[other])}: ${count}, ${percent(shares[index][other])}`));
  const places = names.map((_, index) => index);
  const few = names.length <= 20;
  const short = (name) => escaped(name.length > 16 ? `${name.slice(0, 15)}…` : name);
  const ticks = { ...AXIS, showgrid: false, tickfont: { size: 10 }, ...(few && { tickmode: "array", tickvals: places, ticktext: names.map(short) }) };
  Plotly.react("confusion", [{
    type: "heatmap", x: places, y: places, z: shares, text: texts, hovertemplate: "%{text}<extra></extra>", zmin: 0, zmax: 1,
    colorscale: [[0, "#ffffff"], [0.02, "#e1eef6"], [1, "#0072b2"]], showscale: false, xgap: few ? 1 : 0, ygap: few ? 1 : 0,
  }], layout({
    margin: { l: 110, r: 12, t: 10, b: 90 },
    xaxis: { ...ticks, title: { text: "predicted class" }, constrain: "domain" },
    yaxis: { ...ticks, title: { text: "true class" }, autorange: "reversed", scaleanchor: "x", constrain: "domain" },
    annotations: few ? counts.flatMap((row, y) => row.map((count, x) => ({
      x, y, text: count ? String(count) : "", showarrow: false, font: { size: 10, color: shares[y][x] > 0.5 ? "white" : "#222222" },
    }))).filter(({ text }) => text) : [],
  }), CONFIG);
}

function drawCurves(stages) {
  const lines = [];
  const shapes = [];
  let start = 0;
  for (const [stage, rows] of Object.entries(stages)) {
    const x = Array.from({ length: rows.count }, (_, index) => start + rows.first + index * rows.step + 1);
    const add = (series, label, axis, line) => rows[series] && lines.push({
      x, y: rows[series], name: `${label}, ${stage}`, yaxis: axis, mode: "lines", line, hovertemplate: `${label}, ${stage}: %{y:.4~g}<extra></extra>`,
    });
    const dash = { teacher: "dot", hint: "dash" }[stage] ?? "solid";
    add("loss", "training loss", "y", { color: "#0072B2", dash, width: 1.5 });
    add("error", "validation error, %", "y2", { color: "#222222", dash, width: 1.5 });
    add("hint", "validation hint loss", "y", { color: "#D55E00", dash, width: 1.5 });
    add("lambda", "lambda", "y3", { color: "#CC79A7", dash, width: 1.5 });
    start = x[x.length - 1];
    shapes.push({ type: "line", x0: start + 0.5, x1: start + 0.5, y0: 0, y1: 1, yref: "paper", line: { color: "#bbb", width: 1 } });
  }
  const domain = (low, high) => ({ ...AXIS, domain: [low, high] });
  Plotly.react("curves", lines, layout({
    height: narrow() ? 480 : 440,
    shapes,
    hovermode: "x",
    legend: ABOVE,
    xaxis: { ...AXIS, title: { text: "epoch, over all stages" }, anchor: "y2" },
    yaxis: { ...domain(0.54, 1), type: "log", exponentformat: "power", title: { text: "loss" } },
    yaxis2: { ...domain(0, 0.46), title: { text: "validation error, %" }, rangemode: "tozero" },
    yaxis3: { overlaying: "y2", side: "right", title: { text: "lambda" }, rangemode: "tozero", showgrid: false, tickmode: "auto" },
    margin: { l: 56, r: 52, t: 10, b: 48 },
  }), CONFIG);
}

// --- the table ---

function rowsShown() {
  const words = chosen("find").toLowerCase().split(/\s+/).filter(Boolean);
  let rows = state.filter == null ? data.runs.map((_, index) => index) : [...data.points[state.filter].runs];
  if (words.length) rows = rows.filter((row) => words.every((word) => data.runs[row].words.includes(word)));
  if (state.sort == null) return rows;
  const sign = state.descending ? -1 : 1;
  const missing = (value) => value == null;
  return rows.sort((a, b) => {
    const [first, second] = [data.runs[a][state.sort], data.runs[b][state.sort]];
    if (missing(first) || missing(second)) return missing(first) - missing(second);
    return sign * (typeof first === "number" ? first - second : String(first).localeCompare(String(second)));
  });
}

function drawTable() {
  const rows = rowsShown();
  const fragment = document.createDocumentFragment();
  for (const index of rows.slice(0, state.shown)) {
    const run = data.runs[index];
    const line = document.createElement("tr");
    line.dataset.run = index;
    line.classList.toggle("chosen", index === state.run);
    for (const column of data.columns) {
      const cell = line.insertCell();
      const text = FORMATS[column.format](run[column.key]);
      cell.className = column.format === "text" ? (column.wide ? "wide" : "") : "number";
      if (column.key === "run") cell.append(button(text));
      else cell.textContent = text;
    }
    fragment.append(line);
  }
  byId("table").tBodies[0].replaceChildren(fragment);
  for (const header of byId("table").tHead.rows[0].cells) {
    if (header.dataset.key === state.sort) header.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else header.removeAttribute("aria-sort");
  }
  byId("shown").textContent = `${rows.length} of ${data.runs.length} runs`;
  byId("clear").hidden = state.filter == null && !chosen("find");
  byId("more").hidden = rows.length <= state.shown;
  byId("more").textContent = `show all ${rows.length}`;
  showSides();
}

// Show a shadow on each side of the table that hides more columns.
function showSides() {
  const box = byId("scroll");
  const left = box.scrollWidth - box.clientWidth - box.scrollLeft;
  byId("scroll-frame").classList.toggle("more-left", box.scrollLeft > 1);
  byId("scroll-frame").classList.toggle("more-right", left > 1);
  byId("scroll-frame").style.setProperty("--first", `${byId("table").rows[0].cells[0].offsetWidth}px`);
  byId("sideways").hidden = box.scrollWidth <= box.clientWidth + 1;
}

function button(text) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  return made;
}

function drawHeader() {
  for (const column of data.columns) {
    const header = document.createElement("th");
    const sorter = button(column.label);
    header.scope = "col";
    header.dataset.key = column.key;
    header.className = column.format === "text" ? "" : "number";
    sorter.addEventListener("click", () => {
      state.descending = state.sort === column.key ? !state.descending : column.format !== "text";
      state.sort = column.key;
      drawTable();
    });
    header.append(sorter);
    byId("table").tHead.rows[0].append(header);
  }
}

// --- the beginning ---

for (const run of data.runs) { // the text that the search looks in
  run.words = data.columns.map((column) => run[column.key]).filter((value) => typeof value === "string").join(" ").toLowerCase();
}

function fill(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
}

drawHeader();
byId("find").addEventListener("input", () => { state.shown = ROWS; drawTable(); });
byId("more").addEventListener("click", () => { state.shown = Infinity; drawTable(); });
byId("clear").addEventListener("click", () => { byId("find").value = ""; select(null); });
byId("table").tBodies[0].addEventListener("click", (event) => {
  const line = event.target.closest("tr");
  selectRun(Number(line.dataset.run));
  for (const other of line.parentNode.rows) other.classList.toggle("chosen", other === line);
});
byId("scroll").addEventListener("scroll", showSides, { passive: true });
window.addEventListener("resize", showSides);
byId("back").addEventListener("click", backToRow);
byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("command").textContent);
    byId("copy").textContent = "copied";
    setTimeout(() => { byId("copy").textContent = "copy"; }, 1500);
  } catch { // no permission to write to the clipboard: select the text for the user to copy
    getSelection().selectAllChildren(byId("command"));
  }
});
if (byId("chart")) {
  fill(byId("task"), data.tasks.map((task) => [task, task]));
  fill(byId("cost"), Object.entries(data.costs).map(([key, cost]) => [key, cost.label]));
  for (const id of ["task", "cost", "split"]) byId(id).addEventListener("change", () => { select(null); drawChart(); });
  drawChart();
  byId("chart").on("plotly_afterplot", drawRing);
  byId("chart").on("plotly_click", (event) => {
    const point = event.points.map(({ customdata }) => customdata).find((index) => index != null);
    if (point != null) select(point);
  });
}
drawTable();
