// The board beside the controls: what is going on, one photo before and after, and the list of all.
// It draws the newest `props.value` (see page_view.py) and nothing else. Runs and versions only grow: what a stopped run
// still sends after a new upload is of an older run, however new its version is, and is never drawn.
const find = (selector) => element.querySelector(selector);
const shown = { view: { run: 0, version: 0, rows: [] }, selected: 0, chosen: false, photo: "", list: "" };
const eye = { x: 0, y: 0, scale: 1, split: 50, width: 0, height: 0, isFit: true };

function toggle(node, isShown) { node.hidden = !isShown; }

function setSource(image, url) {
  if (url && image.getAttribute("src") !== url) image.setAttribute("src", url);
  if (!url) image.removeAttribute("src");
  toggle(image, Boolean(url));
}

function place() {
  const stage = find(".stage");
  const spare = [stage.clientWidth - eye.width * eye.scale, stage.clientHeight - eye.height * eye.scale];
  eye.x = spare[0] >= 0 ? spare[0] / 2 : Math.min(0, Math.max(spare[0], eye.x));
  eye.y = spare[1] >= 0 ? spare[1] / 2 : Math.min(0, Math.max(spare[1], eye.y));
  stage.classList.toggle("fits", eye.isFit || !eye.width);  // a finger then moves the page past it
  const screen = eye.scale * window.devicePixelRatio;
  for (const image of element.querySelectorAll(".layer img")) {
    image.style.width = eye.width + "px";
    image.style.height = eye.height + "px";
    image.style.transform = "translate(" + eye.x + "px," + eye.y + "px) scale(" + eye.scale + ")";
    image.classList.toggle("pixels", screen >= 2);
  }
  find(".layer.after").style.clipPath = "inset(0 0 0 " + eye.split + "%)";
  const divider = find(".divider");
  divider.style.left = eye.split + "%";
  divider.setAttribute("aria-valuenow", Math.round(eye.split));
  find(".zoom").textContent = Math.round(screen * 100) + " %";
}

function fit() {
  const stage = find(".stage");
  eye.scale = Math.min(stage.clientWidth / eye.width, stage.clientHeight / eye.height);
  eye.isFit = true;
  place();
}

function zoomTo(scale, x, y) {
  const stage = find(".stage");
  const limits = [Math.min(stage.clientWidth / eye.width, stage.clientHeight / eye.height, 1), 16];
  const next = Math.min(limits[1], Math.max(limits[0], scale));
  eye.x = x - (x - eye.x) * (next / eye.scale);
  eye.y = y - (y - eye.y) * (next / eye.scale);
  eye.scale = next;
  eye.isFit = false;
  place();
}

function zoomMiddle(scale) { zoomTo(scale, find(".stage").clientWidth / 2, find(".stage").clientHeight / 2); }

function splitAt(clientX) {
  const box = find(".stage").getBoundingClientRect();
  eye.split = Math.min(100, Math.max(0, (100 * (clientX - box.left)) / box.width));
  place();
}

function drawPhoto(view) {
  const row = view.rows[shown.selected];
  const photo = row ? [view.run, shown.selected, row.width, row.height].join() : "";
  if (photo !== shown.photo) {
    // a picture stays on show until the next is there: none of another photo may
    for (const image of element.querySelectorAll(".layer img")) setSource(image, null);
  }
  const files = (row && row.files) || {};
  const live = row && row.state === "working" ? view.live : null;
  const before = files.before || (row && row.thumb) || null;
  const after = files.png || live;
  setSource(find(".layer.before img"), before);
  setSource(find(".layer.after img"), after);
  toggle(find(".hint"), !before);
  toggle(find(".tools"), Boolean(before));
  for (const node of [find(".divider"), find(".tag.left"), find(".tag.right")]) toggle(node, Boolean(after));
  find(".tag.right").textContent = files.png ? "After" : "So far";
  for (const link of element.querySelectorAll("[data-file]")) {
    const kind = link.dataset.file;
    toggle(link, Boolean(files[kind]));
    if (files[kind]) { link.href = files[kind]; link.download = files.name + "." + (kind === "jpeg" ? "jpg" : kind); }
  }
  toggle(find(".made"), Boolean(row && row.made_with));
  find(".made pre").textContent = row && row.made_with ? JSON.stringify(row.made_with, null, 1) : "";
  if (!before) { shown.photo = ""; return; }
  if (photo !== shown.photo) { eye.width = row.width; eye.height = row.height; eye.split = 50; fit(); }
  else place();
  shown.photo = photo;
}

function drawList(view) {
  const isList = view.rows.length > 1 || view.rows.some((row) => row.state === "failed");
  const list = isList ? JSON.stringify([shown.selected, view.rows.map((row) => [row.name, row.state, row.note, row.thumb])]) : "";
  if (list === shown.list) return;  // a click on a row that is replaced meanwhile would be lost
  shown.list = list;
  find(".photos").replaceChildren(...(isList ? view.rows.map(drawRow) : []));
}

function shapeStage(rows) {
  const ratios = rows.filter((row) => row.width).map((row) => row.width / row.height);
  find(".stage").classList.toggle("empty", !ratios.length);
  if (ratios.length) find(".stage").style.setProperty("--narrowest", Math.min(...ratios));
}

function drawRow(row, index) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = row.state;
  button.setAttribute("aria-pressed", String(index === shown.selected));
  if (row.thumb) {
    const image = document.createElement("img");
    image.src = row.thumb;
    image.alt = "";
    button.append(image);
  }
  const text = document.createElement("span");
  text.className = "text";
  text.append(row.name);
  const note = document.createElement("span");
  note.className = "note";
  note.textContent = row.note || row.state;
  text.append(note);
  button.append(text);
  button.addEventListener("click", () => { shown.selected = index; shown.chosen = true; draw(); });
  item.append(button);
  return item;
}

function take() {
  const view = props.value || {};
  if (!view.version || view.run < shown.view.run || view.version < shown.view.version) return;
  if (view.run !== shown.view.run) { Object.assign(shown, { selected: 0, chosen: false }); shapeStage(view.rows); }
  shown.view = view;
  const working = view.rows.findIndex((row) => row.state === "working");
  if (!shown.chosen && working >= 0) shown.selected = working;
  draw();
}

function draw() {
  const view = shown.view;
  find(".words").textContent = view.status;
  toggle(find(".bar"), view.running);
  find(".share").style.width = 100 * (view.share || 0) + "%";
  drawList(view);
  toggle(find(".archives"), Boolean(view.archives));
  for (const link of element.querySelectorAll("[data-archive]")) {
    if (view.archives) { link.href = view.archives[link.dataset.archive]; link.download = "restored-" + link.dataset.archive + ".zip"; }
  }
  drawPhoto(view);
}

const fingers = new Map();
let holdsDivider = false;
const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };

find(".stage").addEventListener("pointerdown", (event) => {
  holdsDivider = Boolean(event.target.closest(".divider"));
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  find(".stage").setPointerCapture(event.pointerId);
  find(".stage").classList.add("dragging");
});
find(".stage").addEventListener("pointermove", (event) => {
  const last = fingers.get(event.pointerId);
  if (!last) return;
  const before = fingers.size === 2 ? spread() : 0;
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (fingers.size === 2) {
    const box = find(".stage").getBoundingClientRect();
    const [a, b] = [...fingers.values()];
    zoomTo((eye.scale * spread()) / before, (a.x + b.x) / 2 - box.left, (a.y + b.y) / 2 - box.top);
  } else if (holdsDivider) splitAt(event.clientX);
  else { eye.x += event.clientX - last.x; eye.y += event.clientY - last.y; place(); }
});
for (const name of ["pointerup", "pointercancel"]) {
  find(".stage").addEventListener(name, (event) => {
    fingers.delete(event.pointerId);
    find(".stage").classList.remove("dragging");
  });
}
find(".stage").addEventListener("wheel", (event) => {
  if (!eye.width) return;
  event.preventDefault();
  const box = find(".stage").getBoundingClientRect();
  zoomTo(eye.scale * Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
find(".divider").addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  eye.split = Math.min(100, Math.max(0, eye.split + steps[event.key]));
  place();
});
for (const button of element.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => {
    if (button.dataset.zoom === "fit") fit();
    else if (button.dataset.zoom === "one") zoomMiddle(1 / window.devicePixelRatio);
    else zoomMiddle(eye.scale * (button.dataset.zoom === "in" ? 1.5 : 1 / 1.5));
  });
}
new ResizeObserver(() => { if (eye.width) { if (eye.isFit) fit(); else place(); } }).observe(find(".stage"));
watch("value", take);
take();
