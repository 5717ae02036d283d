"use strict";
// The first part of the script; map.js and start.js follow it.
// The page is made of the block of data by DOM calls alone: text from it is never read as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const hasPictures = data.pictures !== null;

// ---- Small helpers ----

function appended(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}
const el = (tag, attributes = {}, ...children) => appended(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  appended(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const percent = (share) => (share === null ? "\u2013" : (100 * share).toFixed(1) + "\u00a0%");
const brief = (share) => (share < 0.1 ? percent(share) : share.toFixed(2).slice(2) + "\u00a0%");
const count = (n) => n.toLocaleString("en");
const short = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))));

function pressed(text, action) {
  const button = el("button", { type: "button" }, text);
  button.addEventListener("click", action);
  return button;
}

// ---- Samples: columns of the data, a row for each id ----

const rowOfId = new Map(data.samples.id.map((id, row) => [id, row]));
const pictureOfId = new Map(hasPictures ? data.pictures.ids.map((id, i) => [id, data.pictures.urls[i]]) : []);

function sample(id) {
  const row = rowOfId.get(id);
  const columns = data.samples;
  return {
    id,
    name: columns.path === null ? "sample " + columns.index[row] : columns.path[row],
    index: columns.index[row],
    cluster: columns.cluster[row],
    confidence: columns.confidence[row],
    second: columns.second[row],
    secondConfidence: columns.second_confidence[row],
  };
}

const secondChoice = (s) =>
  s.second === s.cluster ? "no second choice" : `then ${s.second}: ${brief(s.secondConfidence)}`;

// ---- Marks: ten colours and seven shapes, so that seventy clusters differ, and neighbours in both ----

const N_COLOURS = 10;
const SHAPES = [
  "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0Z",
  "M-4.5-4.5H4.5V4.5H-4.5Z",
  "M0-5.5L5.5 4.5H-5.5Z",
  "M0-6L5 0L0 6L-5 0Z",
  "M0 5.5L5.5-4.5H-5.5Z",
  "M-1.9-5.2H1.9V-1.9H5.2V1.9H1.9V5.2H-1.9V1.9H-5.2V-1.9H-1.9Z",
  "M0-6L1.6-1.9L6-1.9L2.5.9L3.8 5.2L0 2.6L-3.8 5.2L-2.5.9L-6-1.9L-1.6-1.9Z",
];
const shapeOf = (cluster) => SHAPES[cluster % SHAPES.length];
const colourOf = (cluster) => `--c${cluster % N_COLOURS}`;

function mark(cluster) {
  const path = svg("path", { d: shapeOf(cluster) });
  path.style.fill = `var(${colourOf(cluster)})`;
  return svg("svg", { class: "mark", viewBox: "-6 -6 12 12", "aria-hidden": "true" }, path);
}

// ---- Overview ----

function definition(term, value, note) {
  return el("div", {}, el("dt", {}, term), el("dd", {}, value), note ? el("dd", { class: "why" }, note) : null);
}

function table(node, headings, rows, caption) {
  const head = headings.map(([text, kind]) => el("th", { scope: "col", class: kind || null }, text));
  node.append(caption ? el("caption", {}, caption) : "", el("thead", {}, el("tr", {}, ...head)));
  const body = rows.map((cells) => {
    const made = cells.map((cell, i) => {
      const attributes = i === 0 ? { scope: "row" } : { class: headings[i][1] || null };
      return el(i === 0 ? "th" : "td", attributes, cell);
    });
    return el("tr", {}, ...made);
  });
  node.append(el("tbody", {}, ...body));
  return node;
}

function scrolling(label, content, isLong = false) {
  return el("div", { class: isLong ? "scroll long" : "scroll", role: "region", tabindex: "0", "aria-label": label }, content);
}

const nameOf = (cluster) => `cluster ${cluster}` + (data.clusters[cluster].name === null ? "" : ` (${data.clusters[cluster].name})`);
const titleOf = (cluster) => nameOf(cluster).replace(/^c/, "C");

const clusterLink = (cluster) =>
  el("a", { href: hasPictures ? `#cluster-${cluster}` : "#clusters" }, mark(cluster), titleOf(cluster));

function drawOverview() {
  byId("subtitle").textContent = [
    data.method,
    `${count(data.n_samples)} samples`,
    `${data.clusters.length} clusters`,
    data.folder ? `in ${data.folder}` : null,
  ].filter(Boolean).join(" \u00b7 ");
  const verdict = data.verdict;
  const advice = verdict.advice.map((line) => el("li", {}, line));
  byId("verdict").append(
    el("div", { class: `note ${verdict.level}`, "data-level": verdict.level },
      el("h3", {}, (verdict.level === "none" ? "" : "\u26a0 ") + verdict.heading),
      el("p", {}, verdict.text),
      advice.length ? el("p", {}, "What to try:") : null,
      advice.length ? el("ul", {}, ...advice) : null));
  const used = data.clusters.filter((cluster) => cluster.size > 0).length;
  const seconds = data.history.reduce((sum, record) => sum + (record.seconds || 0), 0);
  byId("facts").append(
    definition("Samples", count(data.n_samples)),
    definition("Clusters in use", `${used} of ${data.clusters.length}`),
    definition("Mean confidence", percent(data.mean_confidence)),
    definition("Epochs", count(data.history.length)),
    definition("Training time", seconds < 120 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(0)} min`),
    definition("Precision", data.precision));
  drawSizes();
  byId("training-data").textContent = data.is_training_data
    ? "Figures of the fit. No true labels took part in any of them."
    : "Figures of the fit, and so of the samples it was fitted on: those in this report are others. " +
      "No true labels took part in any of them.";
  byId("trust").append(...data.trust.map((figure) => definition(figure.label, figure.text, figure.note)));
  drawUnreadable();
}

function drawSizes() {
  const largest = Math.max(...data.clusters.map((cluster) => cluster.size));
  const hasAgreement = data.clusters.some((cluster) => cluster.agreement !== null);
  const headings = [["Cluster"], ["Samples", "number"], ["Share", "number"], ["Size", "wide"],
    ["Mean confidence", "number"], ...(hasAgreement ? [["Restarts agree", "number"]] : []), ["Most confused with"]];
  const rows = data.clusters.map((cluster, i) => {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${(100 * cluster.size) / largest}%`;
    const confused = cluster.confused_with;
    return [clusterLink(i), count(cluster.size), percent(cluster.size / data.n_samples), cluster.size ? bar : "empty",
      percent(cluster.confidence), ...(hasAgreement ? [percent(cluster.agreement)] : []),
      confused === null ? "\u2013" : clusterLink(confused)];
  });
  table(byId("sizes"), headings, rows);
}

function drawUnreadable() {
  if (data.n_unreadable === 0) return;
  const rows = data.unreadable.map((file) => [el("code", {}, file.path), file.reason]);
  const left = data.n_unreadable - rows.length;
  byId("unreadable").append(
    el("h3", { id: "unreadable-title" }, `Files that cannot be read: ${count(data.n_unreadable)}`),
    el("p", { class: "quiet" }, "They are in no cluster and in no figure." + (left ? ` ${count(left)} more are not listed.` : "")),
    scrolling("Files that cannot be read", table(el("table"), [["File"], ["What is wrong"]], rows), true));
}

// ---- Galleries ----

const GROUPS = {
  prototypes: ["Most confident", "what the network takes the cluster for"],
  typical: ["Typical", "around the median confidence"],
  uncertain: ["Least certain", "where mistakes are likeliest"],
};

function shot(id) {
  const s = sample(id);
  const caption = el("figcaption", {},
    el("strong", {}, percent(s.confidence)), el("span", {}, secondChoice(s)), el("span", { class: "path" }, s.name));
  // Decoded when it is first painted. With loading="lazy", pictures that were never in view would not be printed.
  const image = el("img", {
    alt: `${s.name}, ${nameOf(s.cluster)}`, src: pictureOfId.get(id), decoding: "async",
    width: data.pictures.width, height: data.pictures.height,
  });
  return el("li", {}, el("figure", {}, image, caption));
}

function line(id) {
  const s = sample(id);
  return el("li", {}, `${s.name}: ${nameOf(s.cluster)} ${percent(s.confidence)}, ${secondChoice(s)}`);
}

const shots = (ids) => el("ul", { class: hasPictures ? "shots" : "shots text" }, ...ids.map(hasPictures ? shot : line));

function clusterSection(cluster, i) {
  const groups = Object.entries(GROUPS).filter(([name]) => cluster.groups[name].length > 0).map(([name, [heading, why]]) =>
    el("div", { class: name }, el("h4", {}, `${heading}: ${why}`), shots(cluster.groups[name])));
  const summary = cluster.size === 0 ? "No sample is in it."
    : `${count(cluster.size)} samples \u00b7 ${percent(cluster.size / data.n_samples)} \u00b7 mean confidence ${percent(cluster.confidence)}`;
  const onMap = pressed("Only this on the map", () => { showOnly(i); byId("map-section").scrollIntoView(); byId("map").focus(); });
  onMap.setAttribute("aria-label", `Only ${nameOf(i)} on the map`);
  return el("section", { class: "cluster", id: `cluster-${i}`, "aria-labelledby": `cluster-${i}-title` },
    el("div", { class: "cluster-head" },
      el("h3", { id: `cluster-${i}-title` }, mark(i), titleOf(i)), el("p", {}, summary), cluster.size ? onMap : null),
    el("div", { class: "groups" }, ...groups));
}

function drawClusters() {
  if (hasPictures) {
    byId("clusters-help").textContent =
      "Under each picture: the probability of its cluster, its second choice, and its name. No picture stands twice in a cluster.";
    byId("galleries").append(...data.clusters.map(clusterSection));
    if (data.pictures.width <= 32) document.body.classList.add("coarse");
    return;
  }
  byId("clusters-help").textContent =
    "Samples by their position in X, the first being 0. Nearest: by Euclidean distance from the mean embedding of the cluster.";
  const indices = (ids) => ids.map((id) => sample(id).index).join(", ") || "\u2013";
  const unsure = (ids) => ids.map((id) => `${sample(id).index} (${percent(sample(id).confidence)})`).join(", ") || "\u2013";
  const rows = data.clusters.map((cluster, i) => [
    el("span", {}, mark(i), titleOf(i)), count(cluster.size), percent(cluster.confidence),
    cluster.nearest.join(", ") || "\u2013", indices(cluster.groups.prototypes), unsure(cluster.groups.uncertain)]);
  const headings = [["Cluster"], ["Samples", "number"], ["Mean confidence", "number"], ["Nearest to its mean"],
    ["Most confident"], ["Least certain (confidence)"]];
  byId("galleries").append(scrolling("Clusters", table(el("table", { id: "vectors" }), headings, rows)));
}

function drawPairs() {
  const sections = data.pairs.map((pair) => {
    const title = `pair-${pair.first}-${pair.second}`;
    return el("section", { class: "cluster pair", "aria-labelledby": title },
      el("div", { class: "cluster-head" },
        el("h3", { id: title }, mark(pair.first), `${titleOf(pair.first)} and `, mark(pair.second), nameOf(pair.second)),
        el("p", {}, `confusion ${percent(pair.confusion)}`)),
      shots(pair.ids));
  });
  byId("pair-list").append(...(sections.length ? sections : [el("p", {}, "No pair has a confusion of 0.1 % or more.")]));
}

// ---- Training ----

function ticks(low, high) {
  const step = 10 ** Math.floor(Math.log10((high - low) / 2));
  const width = [1, 2, 5, 10].map((factor) => factor * step).find((wide) => (high - low) / wide <= 4);
  const first = Math.ceil(low / width - 1e-9);
  return Array.from({ length: Math.floor(high / width + 1e-9) - first + 1 }, (_, i) => (first + i) * width);
}

// Points are [epoch, value]; starts are [epoch, name] of phases that begin within them.
function chart(title, points, starts, asPercent, fromZero) {
  const [width, height, left, right, top, bottom] = [360, 190, 52, 10, 18, 28];
  const values = points.map((point) => point[1]);
  const spread = Math.max(...values) - Math.min(...values);
  const pad = spread > 0 ? 0.08 * spread : Math.max(Math.abs(values[0]) * 0.1, 0.01);
  const low = fromZero ? 0 : Math.min(...values) - pad, high = Math.max(...values) + pad;
  const first = points[0][0], last = points[points.length - 1][0];
  const x = (epoch) => left + ((width - left - right) * (epoch - first)) / Math.max(1, last - first);
  const y = (value) => height - bottom - ((height - top - bottom) * (value - low)) / (high - low);
  const text = (value) => (asPercent ? `${short(100 * value)} %` : short(value));
  const parts = ticks(low, high).map((value) => svg("g", {},
    svg("path", { class: "axis", d: `M${left} ${y(value)}H${width - right}` }),
    svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text(value))));
  for (const [epoch, name] of starts.length > 1 ? starts : []) {
    parts.push(svg("path", { class: "phase", d: `M${x(epoch)} ${top}V${height - bottom}` }),
      svg("text", { x: x(epoch) + 3, y: top - 5 }, name));
  }
  const d = points.map(([epoch, value]) => `${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
  parts.push(svg("path", { class: "line", d: `M${d}` }));
  if (points.length <= 40) parts.push(...points.map(([e, v]) => svg("circle", { class: "dot", cx: x(e), cy: y(v), r: 3 })));
  parts.push(svg("text", { x: left, y: height - 8 }, `epoch ${first}`));
  if (last > first) parts.push(svg("text", { x: width - right, y: height - 8, "text-anchor": "end" }, String(last)));
  const label = `${title}: ${points.length} epochs, from ${text(values[0])} to ${text(values[values.length - 1])}, ` +
    `between ${text(Math.min(...values))} and ${text(Math.max(...values))}.`;
  return el("figure", {}, el("figcaption", {}, title),
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...parts));
}

const CURVES = [
  ["label_change", "Labels changed", true],
  ["clusters_in_use", "Clusters in use", false],
  ["selected_share", "Selected for training", true],
  ["agreement", "Label start: agreement with its clusters", true],
];

function drawTraining() {
  const history = data.history;
  if (history.length === 0) {
    byId("training-help").textContent = "No epoch was trained.";
    return;
  }
  byId("training-help").textContent = "The loss can be compared within a phase only, so each phase has a curve of its own. " +
    "Epochs count through all phases. Falling losses do not show that clusters are right.";
  const phases = [...new Set(history.map((record) => record.phase))];
  const pointsOf = (name, keep) => history.map((record, i) => [i + 1, record[name], record.phase])
    .filter(([, value, phase]) => typeof value === "number" && keep(phase));
  const starts = (points) => points.filter(([, , phase], i) => i === 0 || phase !== points[i - 1][2]).map(([epoch, , phase]) => [epoch, phase]);
  const charts = phases.map((phase) => [`Loss, ${phase}`, pointsOf("loss", (p) => p === phase), false, false]);
  charts.push(...CURVES.map(([name, title, asPercent]) => [title, pointsOf(name, () => true), asPercent, true]));
  byId("curves").append(...charts.filter(([, points]) => points.length > 0)
    .map(([title, points, ...kind]) => chart(title, points, starts(points), ...kind)));
  const names = [...new Set(history.flatMap((record) => Object.keys(record)))];
  const rows = history.map((record, i) => [String(i + 1), ...names.map((name) =>
    record[name] === undefined || record[name] === null ? "\u2013" : typeof record[name] === "number" ? short(record[name]) : record[name])]);
  const headings = [["Number"], ...names.map((name) => [name.replaceAll("_", " "), name === "phase" ? "" : "number"])];
  byId("history").append(el("details", {}, el("summary", {}, "All figures as a table"),
    scrolling("History of training", table(el("table"), headings, rows), true)));
}

// ---- Settings ----

function drawSettings() {
  const rows = data.parameters.map((p) => [el("code", {}, p.name), el("code", {}, p.value), el("code", {}, p.default)]);
  byId("parameters").append(rows.length
    ? scrolling("Parameters", table(el("table"), [["Parameter"], ["Value"], ["Default"]], rows, "Parameters that are not what they are by default."))
    : el("p", {}, "All parameters are what they are by default."));
  byId("versions").append(...data.versions.map((v) => definition(v.name, v.version)));
}
