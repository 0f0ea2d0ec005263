"use strict";

const byId = (id) => document.getElementById(id);
let key = null;
let model = null;
/** How the body of the next request is made; null where there is none yet. */
let body = null;

/** Asks this server, with the key where one is needed. */
async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("Authorization", "Bearer " + key);
  return fetch(path, { ...options, headers });
}

async function begin() {
  const answer = await ask("models");
  if (answer.status === 401) {
    byId("locked").hidden = false;
    byId("main").hidden = true;
    byId("locked-wrong").textContent = key ? "The key is not one of this server's." : "";
    byId("key").focus();
    return;
  }
  byId("locked").hidden = true;
  const models = (await answer.json()).models;
  if (models.length === 0) {
    byId("facts").textContent = "No model is served.";
    return;
  }
  byId("main").hidden = false;
  const select = byId("model");
  select.replaceChildren(...models.map((one, index) => {
    const several = models.filter((other) => other.name === one.name).length > 1;
    return new Option(several ? one.name + " (version " + one.version + ")" : one.name, index);
  }));
  byId("choice").hidden = models.length < 2;
  select.onchange = () => show(models[select.value]);
  show(models[0]);
}

/** Begins, and says where that fails. */
function start() {
  begin().catch(() => {
    const locked = !byId("locked").hidden;
    // No header can have other characters.
    if (locked && /[^\x21-\x7e]/.test(key)) byId("locked-wrong").textContent = "The key is not one of this server's.";
    else byId(locked ? "locked-wrong" : "facts").textContent = "The server does not answer.";
  });
}

byId("locked").onsubmit = (event) => {
  event.preventDefault();
  key = byId("key").value.trim();
  start();
};

/** Shows a model: what it is, and how it is asked. */
function show(one) {
  model = one;
  document.title = one.name + " – Brasa";
  byId("title").textContent = one.name;
  const sizes = (ports) => ports.map((port) => port.shape.slice(1).map((size) => size < 0 ? "?" : size).join("×") || "1").join(", ");
  byId("facts").textContent =
    sizes(one.inputs) + " → " + sizes(one.outputs) + " · " + one.parameters.toLocaleString("en") + " parameters";
  for (const id of ["picture", "table", "text", "numbers"]) byId(id).hidden = id !== one.subject;
  byId("summary").textContent = one.summary;
  byId("drawing").open = false;
  byId("network").removeAttribute("src");
  for (const id of ["bars", "wrong", "plain", "took", "said", "best"]) byId(id).replaceChildren();
  body = null;
  ({ picture: beginImage, table: beginTable, text: beginText, numbers: beginNumbers })[one.subject]();
  showCurl();
}

/** The address of a prediction. */
function address() {
  const classes = model.meaning === "numbers" ? "" : "?top=1000";
  return "predict/" + model.name + "/versions/" + model.version + classes;
}

/* --- asking ----------------------------------------------------------------------------------------------------- */

let asking = false;
let again = false;
let timer = 0;

/** Asks soon; where a request is on its way, after it: as one draws, only the newest counts. */
function changed(wait = 0) {
  clearTimeout(timer);
  timer = setTimeout(predict, wait);
}

async function predict() {
  if (asking) {
    again = true;
    return;
  }
  if (!body) return;
  asking = true;
  const asked = model;
  const begun = performance.now();
  try {
    const made = await body();
    if (!made) return;
    const answer = await ask(address(), { method: "POST", body: made.data, headers: { "Content-Type": made.type } });
    const json = await answer.json();
    if (asked !== model) return;
    if (!answer.ok) throw new Error(json.error);
    byId("wrong").textContent = "";
    byId("took").textContent = (performance.now() - begun).toFixed(1) + " ms";
    showAnswer(json[json.length - 1]);
  } catch (error) {
    byId("wrong").textContent = error instanceof TypeError ? "The server does not answer." : error.message;
    byId("took").textContent = "";
  } finally {
    asking = false;
    if (again) {
      again = false;
      changed();
    }
  }
}

function showAnswer(answer) {
  const classes = answer.classes;
  byId("plain").hidden = Boolean(classes);
  byId("bars").hidden = !classes;
  if (!classes) {
    const numbers = answer.output ?? answer.outputs;
    byId("plain").textContent = JSON.stringify(numbers);
    byId("best").textContent = "";
    say("Answer: " + JSON.stringify(numbers).slice(0, 200));
    return;
  }
  // The classes of MNIST are called as they are written.
  const name = (one) => one.name ?? (model.dataset === "mnist" ? "" : "class ") + one.class;
  const first = classes[0];
  // The bars of few classes keep their places, so that one sees them move; of many the likeliest come first.
  const shown = classes.length <= 12 ? [...classes].sort((a, b) => a.class - b.class) : classes.slice(0, 12);
  const list = byId("bars");
  while (list.children.length > shown.length) list.lastChild.remove();
  while (list.children.length < shown.length) {
    const item = document.createElement("li");
    for (const part of ["name", "track", "share"]) {
      const span = document.createElement("span");
      span.className = part;
      item.append(span);
    }
    const fill = document.createElement("div");
    fill.className = "fill";
    item.children[1].append(fill);
    item.children[1].setAttribute("aria-hidden", "true");
    list.append(item);
  }
  shown.forEach((one, index) => {
    const [label, track, share] = list.children[index].children;
    list.children[index].className = one === first ? "first" : "";
    label.textContent = name(one);
    label.title = name(one);
    track.firstChild.style.transform = "scaleX(" + Math.min(1, Math.max(0, one.probability ?? 0)) + ")";
    share.textContent = one.probability === null ? "–" : (one.probability * 100).toFixed(1) + " %";
  });
  byId("best").textContent = name(first) + ", " + ((first.probability ?? 0) * 100).toFixed(1) + " %";
  say(name(first) + ", " + ((first.probability ?? 0) * 100).toFixed(0) + " percent");
}

let saying = 0;
/** Tells screen readers, once what changes has come to rest. */
function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => { byId("said").textContent = text; }, 600);
}

/* --- images ----------------------------------------------------------------------------------------------------- */

const pad = byId("draw");
const paper = pad.getContext("2d", { willReadFrequently: true });
const seen = byId("seen");
const sight = seen.getContext("2d", { willReadFrequently: true });
let dropped = null;
let pen = null;
let cursor = [0.5, 0.5];
let waiting = false;

const imageSizes = () => {
  const shape = model.inputs[0].shape;
  return { height: shape[1], width: shape[2], channels: shape[3] ?? 1 };
};

/** Whether drawings are centred and scaled as MNIST's digits are: those of 28 × 28 and grey. */
const asDigit = () => {
  const { height, width, channels } = imageSizes();
  return height === 28 && width === 28 && channels === 1;
};

function beginImage() {
  const { height, width, channels } = imageSizes();
  const scale = 336 / Math.max(height, width);
  pad.width = Math.round(width * scale);
  pad.height = Math.round(height * scale);
  pad.style.aspectRatio = pad.width + " / " + pad.height;
  seen.width = width;
  seen.height = height;
  seen.style.width = 84 * width / Math.max(width, height) + "px";
  seen.style.height = 84 * height / Math.max(width, height) + "px";
  byId("colour-label").hidden = channels === 1;
  byId("picture-hint").textContent = asDigit()
    ? "Draw with the mouse, a finger or the arrow keys (Space draws, Delete clears), or drop an image here. Drawings are centred and scaled as those of MNIST are."
    : "Drop an image here or open one. One can draw, too, with the mouse, a finger or the arrow keys (Space draws, Delete clears).";
  clearPad();
}

function clearPad() {
  dropped = null;
  byId("invert").checked = false;
  byId("invert-label").hidden = true;
  paper.fillStyle = "#000";
  paper.fillRect(0, 0, pad.width, pad.height);
  sight.fillStyle = "#000";
  sight.fillRect(0, 0, seen.width, seen.height);
  byId("bars").replaceChildren();
  for (const id of ["plain", "best", "took", "wrong"]) byId(id).textContent = "";
  pad.setAttribute("aria-label", "Drawing, empty");
  body = null;
  showCurl();
}

function line(from, to) {
  paper.strokeStyle = byId("colour-label").hidden ? "#fff" : byId("colour").value;
  paper.lineWidth = byId("pen").value / 5 * pad.width / 12;
  paper.lineCap = "round";
  paper.lineJoin = "round";
  paper.beginPath();
  paper.moveTo(from[0] * pad.width, from[1] * pad.height);
  // A dot is a line that goes nowhere.
  paper.lineTo(to[0] * pad.width + 0.01, to[1] * pad.height);
  paper.stroke();
  pad.setAttribute("aria-label", "Drawing");
  // Once a frame: a mouse says more often where it is.
  if (!waiting) {
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (!dropped) drawn();
    });
  }
}

const place = (event) => {
  const box = pad.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};

pad.onpointerdown = (event) => {
  if (event.button !== 0) return;
  if (dropped) clearPad();
  pad.setPointerCapture(event.pointerId);
  pen = place(event);
  line(pen, pen);
  event.preventDefault();
  pad.focus({ preventScroll: true });
};
pad.onpointermove = (event) => {
  if (!pen) return;
  const parts = event.getCoalescedEvents?.() ?? [];
  for (const one of parts.length > 0 ? parts : [event]) {
    const to = place(one);
    line(pen, to);
    pen = to;
  }
};
pad.onpointerup = pad.onpointercancel = () => { pen = null; };
pad.onkeydown = (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] }[event.key];
  if (event.key === "Delete" || event.key === "Backspace") {
    clearPad();
  } else if (step) {
    if (dropped) clearPad();
    const to = cursor.map((own, axis) => Math.min(0.95, Math.max(0.05, own + step[axis] * 0.04)));
    // With Shift the pen moves without drawing.
    if (!event.shiftKey) line(cursor, to);
    cursor = to;
  } else {
    return;
  }
  event.preventDefault();
};

/** What was drawn becomes what the network sees. */
function drawn() {
  if (asDigit()) {
    if (!centre()) return;
  } else {
    sight.imageSmoothingQuality = "high";
    sight.drawImage(pad, 0, 0, seen.width, seen.height);
  }
  body = () => pngOf(seen);
  showCurl();
  changed();
}

/**
 * As MNIST's digits were made: what is drawn is scaled into a box of 20 × 20 pixels, its sides kept in proportion, and
 * put into 28 × 28 with its centre of mass in the middle. Whether anything is drawn.
 */
function centre() {
  const pixels = paper.getImageData(0, 0, pad.width, pad.height).data;
  let [left, top, right, bottom] = [pad.width, pad.height, -1, -1];
  for (let y = 0; y < pad.height; y++) {
    for (let x = 0; x < pad.width; x++) {
      if (pixels[(y * pad.width + x) * 4] > 25) {
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
    }
  }
  if (right < 0) return false;
  const [width, height] = [right - left + 1, bottom - top + 1];
  const scale = 20 / Math.max(width, height);
  const [small, low] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  // By halves, as a browser that scales a lot at once leaves pixels out.
  let from = document.createElement("canvas");
  from.width = width;
  from.height = height;
  from.getContext("2d").drawImage(pad, left, top, width, height, 0, 0, width, height);
  while (from.width > 2 * small && from.height > 2 * low) {
    const half = document.createElement("canvas");
    half.width = Math.ceil(from.width / 2);
    half.height = Math.ceil(from.height / 2);
    const context = half.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(from, 0, 0, half.width, half.height);
    from = half;
  }
  const box = document.createElement("canvas");
  box.width = small;
  box.height = low;
  const context = box.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(from, 0, 0, small, low);
  const values = context.getImageData(0, 0, small, low).data;
  let [mass, sumX, sumY] = [0, 0, 0];
  for (let y = 0; y < low; y++) {
    for (let x = 0; x < small; x++) {
      const value = values[(y * small + x) * 4];
      mass += value;
      sumX += value * (x + 0.5);
      sumY += value * (y + 0.5);
    }
  }
  if (mass === 0) return false;
  const fit = (sum, size) => Math.max(0, Math.min(28 - size, Math.round(14 - sum / mass)));
  sight.fillStyle = "#000";
  sight.fillRect(0, 0, 28, 28);
  sight.drawImage(box, fit(sumX, small), fit(sumY, low));
  return true;
}

const pngOf = (canvas) => new Promise((resolve) => {
  canvas.toBlob((blob) => resolve(blob && { data: blob, type: "image/png" }), "image/png");
});

async function openImage(file) {
  let image;
  try {
    image = await createImageBitmap(file);
  } catch {
    byId("wrong").textContent = "`" + file.name + "` is no image that this browser shows.";
    return;
  }
  clearPad();
  dropped = { image, file };
  pad.setAttribute("aria-label", "Image " + file.name);
  byId("invert-label").hidden = imageSizes().channels !== 1;
  look();
  // Dark digits on a light ground are no digits of MNIST.
  if (asDigit() && light() > 0.5) {
    byId("invert").checked = true;
    look();
  }
}

/** How light the image is that the network sees, from 0 to 1. */
function light() {
  const values = sight.getImageData(0, 0, seen.width, seen.height).data;
  let sum = 0;
  for (let place = 0; place < values.length; place += 4) sum += values[place];
  return sum / (values.length / 4) / 255;
}

/** What was dropped becomes what the network sees. */
function look() {
  const { image, file } = dropped;
  const invert = byId("invert").checked && !byId("invert-label").hidden;
  const scale = Math.min(pad.width / image.width, pad.height / image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  paper.filter = invert ? "invert(1)" : "none";
  paper.fillStyle = invert ? "#fff" : "#000";
  paper.fillRect(0, 0, pad.width, pad.height);
  paper.drawImage(image, (pad.width - width) / 2, (pad.height - height) / 2, width, height);
  paper.filter = "none";
  sight.imageSmoothingQuality = "high";
  sight.filter = invert ? "invert(1)" : "none";
  sight.drawImage(image, 0, 0, seen.width, seen.height);
  sight.filter = "none";
  // As it is: the server scales it as `brasa predict` does. Turned images exist only here.
  const known = ["image/png", "image/jpeg", "image/bmp", "image/gif", "image/webp"].includes(file.type);
  body = invert || !known ? () => pngOf(seen) : async () => ({ data: file, type: file.type });
  body.file = !invert && known ? file.name : null;
  showCurl();
  changed();
}

byId("clear").onclick = () => { clearPad(); pad.focus(); };
byId("save").onclick = async () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL((await pngOf(seen)).data);
  link.download = "image.png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
byId("invert").onchange = () => dropped && look();
byId("file").onchange = (event) => {
  if (event.target.files[0]) openImage(event.target.files[0]);
  event.target.value = "";
};
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  if (model?.subject === "picture") pad.classList.add("over");
});
document.addEventListener("dragleave", () => pad.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  pad.classList.remove("over");
  if (model?.subject === "picture" && event.dataTransfer.files[0]) openImage(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (model?.subject === "picture" && file) openImage(file);
});

/* --- tables ----------------------------------------------------------------------------------------------------- */

function beginTable() {
  const form = byId("table");
  form.replaceChildren();
  if (model.steps) {
    // Windows over time: rows as they stand in a file.
    const label = document.createElement("label");
    label.textContent = model.steps + " rows or more, as CSV";
    label.style.gridColumn = "1 / -1";
    const area = document.createElement("textarea");
    area.rows = 10;
    area.spellcheck = false;
    area.placeholder = model.columns.map((column) => column.name).join(",");
    label.append(area);
    form.append(label);
    area.oninput = () => {
      body = area.value.trim() ? async () => ({ data: area.value, type: "text/csv" }) : null;
      showCurl();
      changed(200);
    };
    return;
  }
  const fields = model.columns.map((column, index) => {
    const label = document.createElement("label");
    label.textContent = column.name || "column " + (index + 1);
    let field;
    if (column.categories) {
      field = document.createElement("select");
      field.append(...column.categories.map((text) => new Option(text || "(none)", text)));
    } else {
      field = document.createElement("input");
      field.type = "number";
      field.step = "any";
      field.value = column.fill ?? 0;
      if (typeof column.fill === "number") field.placeholder = "none";
    }
    label.append(field);
    form.append(label);
    return field;
  });
  const named = model.columns.every((column) => column.name);
  // An empty field is a gap, for which the model may have a stand-in.
  const value = (field, column) => column.categories ? field.value : field.value === "" ? null : Number(field.value);
  body = async () => {
    const values = fields.map((field, index) => value(field, model.columns[index]));
    const row = named ? Object.fromEntries(model.columns.map((column, index) => [column.name, values[index]])) : values;
    return { data: JSON.stringify(row), type: "application/json" };
  };
  form.oninput = () => {
    showCurl();
    changed(150);
  };
  form.onsubmit = (event) => event.preventDefault();
  changed();
}

/* --- texts and numbers ------------------------------------------------------------------------------------------ */

function beginText() {
  const words = byId("words");
  words.value = "";
  words.oninput = () => {
    body = words.value ? async () => ({ data: words.value, type: "text/plain" }) : null;
    showCurl();
    changed(150);
  };
}

function beginNumbers() {
  const area = byId("json");
  const zeros = (shape) => shape.length === 0 ? 0 : Array.from({ length: Math.max(1, shape[0]) }, () => zeros(shape.slice(1)));
  const count = model.inputs.reduce((sum, input) => sum + input.shape.slice(1).reduce((a, b) => a * Math.max(1, b), 1), 0);
  const blank = (input) => input.datatype === "BYTES" ? [""] : [zeros(input.shape.slice(1))];
  const example = model.inputs.length === 1
    ? blank(model.inputs[0])
    : Object.fromEntries(model.inputs.map((input) => [input.name, blank(input)]));
  area.value = count <= 2000 ? JSON.stringify(example) : "";
  area.placeholder = "Numbers of shape " + model.inputs.map((input) => input.name + ": " + input.shape.slice(1).join("×")).join(", ");
  area.oninput = () => {
    body = area.value.trim() ? async () => ({ data: area.value, type: "application/json" }) : null;
    showCurl();
    changed(250);
  };
  area.oninput();
}

/* --- the request as curl ---------------------------------------------------------------------------------------- */

const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

async function showCurl() {
  const parts = ["curl " + quoted(new URL(address(), document.baseURI).href)];
  if (key) parts.push("-H 'Authorization: Bearer '\"$KEY\"");
  const made = body && model.subject !== "picture" ? await body() : null;
  if (model.subject === "picture") {
    parts.push("--data-binary @" + quoted(body?.file ?? "image.png"));
  } else if (made) {
    parts.push("-H " + quoted("Content-Type: " + made.type));
    const text = String(made.data);
    parts.push("--data-binary " + (text.length < 4000 ? quoted(text) : "@input"));
  } else {
    parts.push("--data-binary @input");
  }
  byId("curl").textContent = parts.join(" \\\n  ");
}

byId("copy").onclick = async () => {
  const text = byId("curl").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without the right to the clipboard, as on a page that is not secure, it is selected to be copied by hand.
    getSelection().selectAllChildren(byId("curl"));
    byId("copied").textContent = "Selected";
    return;
  }
  byId("copied").textContent = "Copied";
  setTimeout(() => { byId("copied").textContent = ""; }, 2000);
};

byId("drawing").ontoggle = async () => {
  const image = byId("network");
  if (!byId("drawing").open || image.src) return;
  const asked = model;
  const answer = await ask("models/" + asked.name + "/versions/" + asked.version + "/network.svg");
  if (!answer.ok) return;
  const drawing = await answer.blob();
  // Another model may be shown by now.
  if (asked !== model) return;
  image.src = URL.createObjectURL(drawing);
  image.alt = "The layers of " + asked.name;
};

start();
