// ---- Map ----

const map = { scale: 1, x: 0, y: 0, selected: null, shown: data.clusters.map(() => true), asPictures: false, sheets: [] };
const canvas = byId("map-canvas");
const points = data.map.ids.map((id, i) => ({ id, at: i, cluster: sample(id).cluster, x: data.map.x[i], y: data.map.y[i] }));
const visible = (point) => map.shown[point.cluster];
const extremes = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
const [[xLow, xHigh], [yLow, yHigh]] = [extremes(data.map.x), extremes(data.map.y)];
const MARGIN = 28, PICTURE = 30, REACH = 14, MOST_ZOOM = 64;

// Pixels a unit of the map at zoom 1, at which all of it fits.
function fit() {
  const wide = Math.max(40, canvas.clientWidth - 2 * MARGIN), high = Math.max(40, canvas.clientHeight - 2 * MARGIN);
  return Math.min(wide / Math.max(1, xHigh - xLow), high / Math.max(1, yHigh - yLow));
}
// Where points are on the canvas; the size of the page is asked for once, since that costs more than all points.
function placing() {
  const unit = fit() * map.scale, [x, y] = [canvas.clientWidth / 2 + map.x, canvas.clientHeight / 2 + map.y];
  return (point) => [x + (point.x - (xLow + xHigh) / 2) * unit, y - (point.y - (yLow + yHigh) / 2) * unit];
}

// A sheet is decoded when a picture in it is first wanted.
function sheet(number) {
  if (!map.sheets[number]) {
    const image = new Image();
    image.addEventListener("load", () => { drawMap(); drawCard(); });
    image.src = data.sheets.urls[number];
    map.sheets[number] = image;
  }
  return map.sheets[number];
}
function drawPicture(context, point, x, y, width, height) {
  const s = data.sheets, inSheet = s.columns * s.rows, cell = point.at % inSheet;
  const image = sheet(Math.floor(point.at / inSheet));
  if (!image.complete) return;
  context.drawImage(image, (cell % s.columns) * s.cell_width, Math.floor(cell / s.columns) * s.cell_height,
    s.width, s.height, x, y, width, height);
}

function drawMap() {
  const ratio = window.devicePixelRatio || 1, wide = canvas.clientWidth, high = canvas.clientHeight;
  canvas.width = wide * ratio;
  canvas.height = high * ratio;
  const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const colours = data.clusters.map((_, i) => style.getPropertyValue(colourOf(i)).trim());
  const shapes = SHAPES.map((d) => new Path2D(d));
  const [card, text] = [style.getPropertyValue("--card").trim(), style.getPropertyValue("--text").trim()];
  context.lineWidth = 1;
  context.strokeStyle = card;
  const place = placing();
  for (const point of points) {
    const [x, y] = place(point);
    if (!visible(point) || x < -40 || y < -40 || x > wide + 40 || y > high + 40) continue;
    const size = points.length > 4000 ? 0.8 : 1;
    let [markX, markY] = [x, y];
    context.fillStyle = colours[point.cluster];
    if (map.asPictures) {
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      const tall = (PICTURE * data.sheets.height) / data.sheets.width;
      context.fillRect(x - PICTURE / 2 - 2, y - tall / 2 - 2, PICTURE + 4, tall + 4);
      drawPicture(context, point, x - PICTURE / 2, y - tall / 2, PICTURE, tall);
      [markX, markY] = [x - PICTURE / 2, y - tall / 2];
    }
    context.setTransform(ratio * size, 0, 0, ratio * size, markX * ratio, markY * ratio);
    context.fill(shapes[point.cluster % SHAPES.length]);
    context.stroke(shapes[point.cluster % SHAPES.length]);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  drawNumbers(context, place, card, text);
  byId("map").dataset.zoom = map.scale.toFixed(2);
}

// The number of each cluster at the median of its samples, since colours and shapes have to be looked up.
function drawNumbers(context, place, card, text) {
  const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
  context.font = "600 13px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  data.clusters.forEach((_, cluster) => {
    const own = points.filter((point) => point.cluster === cluster);
    if (!map.shown[cluster] || own.length === 0) return;
    const [x, y] = place({ x: median(own.map((point) => point.x)), y: median(own.map((point) => point.y)) });
    const half = 8 + 4 * String(cluster).length;
    context.fillStyle = card;
    context.strokeStyle = text;
    context.lineWidth = 1;
    context.beginPath();
    context.roundRect(x - half, y - 11, 2 * half, 22, 11);
    context.fill();
    context.stroke();
    context.fillStyle = text;
    context.fillText(String(cluster), x, y + 1);
  });
}

function drawCard() {
  const card = byId("card");
  card.hidden = byId("ring").hidden = map.selected === null;
  byId("map").dataset.selected = map.selected === null ? "" : map.selected.id;
  if (map.selected === null) return;
  const s = sample(map.selected.id);
  card.replaceChildren();
  if (hasPictures) {
    const { width, height } = data.sheets, factor = Math.max(1, Math.round(128 / width));
    const picture = el("canvas", { width: width * factor, height: height * factor, role: "img", "aria-label": s.name });
    const context = picture.getContext("2d");
    context.imageSmoothingEnabled = width > 32;
    drawPicture(context, map.selected, 0, 0, picture.width, picture.height);
    card.append(picture);
  }
  card.append(el("strong", {}, mark(s.cluster), `${titleOf(s.cluster)}: ${percent(s.confidence)}`),
    el("span", {}, secondChoice(s)), el("span", { class: "path" }, s.name));
  const [x, y] = placing()(map.selected);
  byId("ring").style.left = `${x}px`;
  byId("ring").style.top = `${y}px`;
  byId("ring").classList.toggle("wide", map.asPictures);
  const beside = x + 18 + card.offsetWidth > canvas.clientWidth ? x - 18 - card.offsetWidth : x + 18;
  card.style.left = `${Math.max(4, Math.min(beside, canvas.clientWidth - card.offsetWidth - 4))}px`;
  card.style.top = `${Math.max(4, Math.min(y - card.offsetHeight / 2, canvas.clientHeight - card.offsetHeight - 4))}px`;
}

function select(point) {
  if (map.selected === point) return;
  map.selected = point;
  drawCard();
  tellOfMap();
}

function tellOfMap() {
  const n = points.filter(visible).length;
  const s = map.selected && sample(map.selected.id);
  byId("map-status").textContent = s
    ? `${s.name}: ${nameOf(s.cluster)}, ${percent(s.confidence)}; ${secondChoice(s)}.`
    : `${count(n)} of ${count(points.length)} samples shown, zoom ${map.scale.toFixed(1)}.`;
}

function moved() {
  drawMap();
  drawCard();
  tellOfMap();
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const scale = Math.min(MOST_ZOOM, Math.max(1, map.scale * factor));
  const ratio = scale / map.scale, [fromX, fromY] = [x - canvas.clientWidth / 2, y - canvas.clientHeight / 2];
  map.x = fromX + (map.x - fromX) * ratio;
  map.y = fromY + (map.y - fromY) * ratio;
  map.scale = scale;
  moved();
}
function pan(x, y) {
  map.x += x;
  map.y += y;
  moved();
}
function whole() {
  Object.assign(map, { scale: 1, x: 0, y: 0 });
  moved();
}

// Some points in the middle, as large as they fit.
function frame(some) {
  Object.assign(map, { scale: 1, x: 0, y: 0 });
  const place = placing(), places = some.map(place);
  const [low, high] = [Math.min, Math.max].map((most) => [0, 1].map((axis) => most(...places.map((at) => at[axis]))));
  const sides = [canvas.clientWidth, canvas.clientHeight];
  const fits = sides.map((side, axis) => (0.8 * side) / Math.max(1, high[axis] - low[axis]));
  if (places.length > 0) {
    map.scale = Math.min(MOST_ZOOM, Math.max(1, Math.min(...fits)));
    [map.x, map.y] = sides.map((side, axis) => (side / 2 - (low[axis] + high[axis]) / 2) * map.scale);
  }
  moved();
}

function nearest(x, y, reach) {
  let best = null, least = reach;
  const place = placing();
  for (const point of points) {
    if (!visible(point)) continue;
    const [px, py] = place(point);
    const away = Math.hypot(px - x, py - y);
    if (away < least) [best, least] = [point, away];
  }
  return best;
}

// The next sample in a direction: the nearest within 45 degrees of it.
function step(dx, dy) {
  if (map.selected === null) return select(nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity));
  const place = placing(), [x, y] = place(map.selected);
  let best = null, least = Infinity;
  for (const point of points) {
    if (!visible(point) || point === map.selected) continue;
    const [px, py] = place(point);
    const along = (px - x) * dx + (py - y) * dy, across = Math.abs((px - x) * dy - (py - y) * dx);
    if (along > 0.5 && across <= along && along + across < least) [best, least] = [point, along + across];
  }
  if (best === null) return;
  const [bx, by] = place(best), inside = bx > 0 && by > 0 && bx < canvas.clientWidth && by < canvas.clientHeight;
  select(best);
  if (!inside) pan(canvas.clientWidth / 2 - bx, canvas.clientHeight / 2 - by);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = ARROWS[event.key];
  const actions = { "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: whole, Escape: () => select(null) };
  if (arrow && event.shiftKey) pan(-60 * arrow[0], -60 * arrow[1]);
  else if (arrow) step(...arrow);
  else if (actions[event.key]) actions[event.key]();
  else return;
  event.preventDefault();
}

function listenToPointers() {
  const box = byId("map"), down = new Map();
  const at = (event) => [event.clientX - canvas.getBoundingClientRect().left, event.clientY - canvas.getBoundingClientRect().top];
  const apart = () => { const [a, b] = [...down.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
  box.addEventListener("pointerdown", (event) => {
    down.set(event.pointerId, at(event));
    if (event.pointerType === "mouse") box.setPointerCapture(event.pointerId);
    else select(nearest(...at(event), 2 * REACH));
  });
  box.addEventListener("pointermove", (event) => {
    const [x, y] = at(event), before = down.get(event.pointerId);
    if (!before) return event.pointerType === "mouse" ? select(nearest(x, y, REACH)) : undefined;
    const wide = down.size === 2 ? apart() : 0;
    down.set(event.pointerId, [x, y]);
    if (down.size === 2) zoom(apart() / Math.max(1, wide), x, y);
    else if (event.pointerType === "mouse") pan(x - before[0], y - before[1]);
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
    box.addEventListener(name, (event) => {
      down.delete(event.pointerId);
      // A finger that is lifted leaves as well, and its sample is to stay.
      if (name === "pointerleave" && event.pointerType === "mouse" && document.activeElement !== box) select(null);
    });
  }
  box.addEventListener("wheel", (event) => {
    if (document.activeElement !== box && !event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...at(event));
  }, { passive: false });
  // By keyboard the map is never without a sample; a click has chosen one itself.
  box.addEventListener("focus", () => { if (box.matches(":focus-visible") && map.selected === null) step(0, 0); });
  box.addEventListener("blur", () => select(null));
  box.addEventListener("keydown", onKey);
}

function applyFilter() {
  document.querySelectorAll("#filter input").forEach((box, i) => { map.shown[i] = box.checked; });
  if (map.selected && !visible(map.selected)) map.selected = null;
  moved();
}
function check(wanted) {
  document.querySelectorAll("#filter input").forEach((box, i) => { box.checked = wanted(i); });
  applyFilter();
}
function showOnly(cluster) {
  check((i) => i === cluster);
  frame(points.filter(visible));
}

function drawFilter() {
  const list = el("div", { class: "list" }, ...data.clusters.map((cluster, i) => {
    const box = el("input", { type: "checkbox", value: i, checked: "" });
    box.addEventListener("change", applyFilter);
    return el("label", {}, box, el("span", {}, mark(i), titleOf(i)), el("span", { class: "size" }, count(cluster.size)));
  }));
  byId("filter").append(el("div", { class: "tools" }, pressed("All", () => { check(() => true); whole(); }), pressed("None", () => check(() => false))), list);
}

function startMap() {
  const m = data.map;
  const method = m.method === "tsne"
    ? "t-SNE: neighbours stay together, but distances between groups, and their sizes, mean nothing."
    : "The two first principal components of the embedding" + (m.explained === null ? "."
      : `, which hold ${percent(m.explained)} of its variance. Clusters that overlap here may lie apart in other dimensions.`);
  byId("map-method").textContent = method + (m.ids.length < data.n_samples
    ? ` A sample of ${count(m.ids.length)} of ${count(data.n_samples)} is shown, chosen at random, with those of the galleries where there is room.` : "");
  byId("as-pictures-label").hidden = !hasPictures;
  byId("as-pictures").addEventListener("change", (event) => { map.asPictures = event.target.checked; moved(); });
  byId("zoom-in").addEventListener("click", () => zoom(1.5));
  byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  byId("zoom-reset").addEventListener("click", whole);
  drawFilter();
  listenToPointers();
  new ResizeObserver(() => { drawMap(); drawCard(); }).observe(byId("map"));
  moved();
}
