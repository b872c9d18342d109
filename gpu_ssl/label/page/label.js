// The page of gpu-ssl label. Text goes into the page as text only: names and classes are untrusted.
import { chart } from "./chart.js";

const SHOWN = 24;
const NONE = "unknown"; // written for an image of none of the classes
const $ = (id) => document.getElementById(id);
// crypto.randomUUID is missing on pages that are neither encrypted nor local.
const page = (sessionStorage.page ??= crypto.getRandomValues(new Uint32Array(4)).join("-"));
const CHANGES = ["label", "undo", "skip", "keep", "class", "write"];

let state = null;
let tab = "next";
let ofClass = null; // the class shown in the tab of labelled images
let images = [];
let current = 0;
let anchor = 0;
const selected = new Set();
let busy = Promise.resolve();
let refused = ""; // why the last change was not made

// -- requests ------------------------------------------------------------------------------------------

async function ask(what, body = {}) {
  let answer;
  try {
    const response = await fetch(`/api/${what}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    answer = response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : { problem: text };
  } catch {
    answer = { problem: "gpu-ssl label does not answer; it may have stopped. Labels shown here are on disk." };
  }
  if (CHANGES.includes(what)) refused = answer.problem ?? "";
  if (answer.problem) {
    tell(answer.problem);
    throw new Error(answer.problem);
  }
  const before = state;
  state = answer.state;
  showState(before);
  return answer.found;
}

// One change at a time, in the order of the keys.
function later(work) {
  busy = busy.then(work, work).catch(() => {});
  return busy;
}

function tell(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = !problem;
}

function say(text) {
  $("said").textContent = text;
}

// -- rendering -----------------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Browsers keep images for an hour, so that those of other images need other addresses.
const address = (image) => `/image/${state.images}/${image.number}`;
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const shownLabel = (label) => (label === NONE ? "not one of these" : label);

function showState(before) {
  $("data").textContent = state.data;
  $("file").textContent = state.file;
  const none = state.none ? `, ${state.none.toLocaleString("en")} not one of the classes` : "";
  $("progress").textContent =
    `${state.labelled.toLocaleString("en")} of ${state.total.toLocaleString("en")} images labelled${none}`;
  $("suspects").textContent = state.suspects;
  tell(refused || state.problem);
  showEstimate();
  const doing = [state.working, state.training].filter(Boolean).join("; ");
  $("working").textContent = doing ? `${doing} …` : "";
  $("training").hidden = !state.training;
  $("training").value = state.trained;
  $("write").disabled = state.writing;
  $("write").textContent = state.writing ? "Saving the model …" : "Save the model";
  $("written").replaceChildren(
    ...(state.written ? ["Saved. Use it: ", element("code", {}, `gpu-ssl predict ${state.written} ${state.data}`)] : []),
  );
  if (JSON.stringify(before?.classes) !== JSON.stringify(state.classes)) showClasses();
  if (before && before.version !== state.version) later(renewPredictions);
}

function showEstimate() {
  const estimate = state.estimate;
  if (!estimate) {
    $("estimate").textContent = state.version
      ? "Label two or more images of each class to see the estimated accuracy of the model."
      : "A model is fitted once images of at least two classes are labelled.";
    $("chart").replaceChildren();
    return;
  }
  $("estimate").replaceChildren(
    element("strong", {}, percent(estimate.accuracy)),
    ` estimated accuracy (95 % interval ${percent(estimate.low)} to ${percent(estimate.high)}), from ` +
      `${state.of} labels (${state.method} on ${state.encoder}), fitted in ${state.seconds} s. Suggested images are hard ones: ` +
      "accuracy on all images is usually higher.",
  );
  $("chart").replaceChildren(chart(state.points));
}

function showClasses() {
  $("classes").replaceChildren(
    ...state.classes.map((own, i) =>
      element(
        "button",
        { "data-class": own.name, title: own.name, onclick: () => give(own.name), "aria-keyshortcuts": i < 9 ? `${i + 1}` : null },
        element("span", { class: "class-name" }, own.name),
        ...(i < 9 ? [" ", element("kbd", {}, `${i + 1}`)] : []),
      ),
    ),
    element("button", { id: "new", onclick: newClass, "aria-keyshortcuts": "c" }, "New class ", element("kbd", {}, "C")),
  );
  const rows = [...state.classes, ...(state.none ? [{ name: "not one of these", count: state.none }] : [])];
  $("counts").replaceChildren(
    ...rows.map((own) => element("tr", {}, element("td", {}, own.name), element("td", {}, own.count.toLocaleString("en")))),
  );
  showChoice();
}

function showChoice() {
  const names = state.classes.map((own) => own.name).concat(state.none ? [NONE] : []);
  if (ofClass === null || !names.includes(ofClass)) ofClass = names[0] ?? null;
  $("of-class").replaceChildren(
    ...names.map((name) =>
      element(
        "button",
        { "aria-pressed": String(name === ofClass), onclick: () => { ofClass = name; showChoice(); later(load); } },
        element("span", { class: "class-name" }, shownLabel(name)),
      ),
    ),
  );
}

function showPictures() {
  $("grid").replaceChildren(...images.map(tile));
  $("grid").setAttribute("aria-activedescendant", images.length ? `image-${images[current]?.number}` : "");
  $("empty").hidden = images.length > 0;
  $("empty").textContent = {
    next: "All images are labelled.",
    labelled: "No image has this label yet.",
    suspects: "No label looks wrong. Each fit checks labels by cross-validation.",
  }[tab];
  $("heading").textContent = {
    next: "The most informative images for the model; typical images at first.",
    labelled: "Change a label, or remove it with Backspace.",
    suspects: "Another class is far more likely: accept it, choose a class, or keep the label.",
  }[tab];
  $("of-class").hidden = tab !== "labelled";
  $("keep").hidden = tab !== "suspects";
  $("skip").hidden = tab !== "next";
  $("more").hidden = tab === "suspects";
}

function tile(image, i) {
  const img = element("img", { src: address(image), alt: "", loading: "lazy" });
  img.addEventListener("load", () => img.classList.toggle("tiny", img.naturalWidth < 128));
  const lines = [element("p", { class: "name", title: image.name }, image.name)];
  if (image.label) lines.push(element("p", { class: "label" }, `✓ ${shownLabel(image.label)}`));
  if (image.prediction && (tab === "suspects" || !image.label)) {
    lines.push(element("p", { class: "prediction" }, `${image.prediction}? ${Math.round(100 * image.confidence)} %`));
  }
  const chosen = selected.has(image.number);
  const made = element(
    "div",
    {
      class: `image${i === current ? " current" : ""}${image.label && tab === "next" ? " labelled" : ""}`,
      role: "option",
      id: `image-${image.number}`,
      "aria-selected": String(chosen),
      "aria-label": `${image.name}${image.label ? `, labelled ${shownLabel(image.label)}` : ""}${image.prediction ? `, prediction ${image.prediction}` : ""}`,
    },
    img,
    ...lines,
    ...(chosen ? [element("span", { class: "tick", "aria-hidden": "true" }, "✓")] : []),
  );
  made.addEventListener("click", (event) => { choose(i, event.shiftKey); $("grid").focus({ preventScroll: true }); });
  made.addEventListener("dblclick", () => { current = i; zoom(); });
  return made;
}

// -- the list of images --------------------------------------------------------------------------------

async function load() {
  const asked = tab;
  const found =
    asked === "suspects" ? await ask("suspects")
    : asked === "labelled" ? (ofClass === null ? [] : await ask("labelled", { name: ofClass, count: 500 }))
    : await ask("next", { page, count: SHOWN });
  if (asked !== tab) return;
  images = found;
  selected.clear();
  current = anchor = Math.max(0, images.findIndex((own) => asked !== "next" || !own.label));
  showPictures();
}

async function renewPredictions() {
  if (tab === "suspects") return load();
  if (tab !== "next" || !images.length) return;
  const found = await ask("describe", { rows: images.map((own) => own.number) });
  const renewed = new Map(found.map((own) => [own.number, own]));
  images = images.map((own) => ({ ...own, ...renewed.get(own.number) }));
  showPictures();
}

// -- labelling -----------------------------------------------------------------------------------------

function chosen() {
  if (selected.size) return images.filter((own) => selected.has(own.number));
  return images[current] ? [images[current]] : [];
}

function give(label) {
  return said(chosen().map((own) => [own.number, label]));
}

function accept() {
  return said(chosen().filter((own) => own.prediction).map((own) => [own.number, own.prediction]));
}

function said(pairs) {
  if (!pairs.length) return Promise.resolve();
  const labels = Object.fromEntries(pairs);
  const shown = tab;
  const place = current;
  const wasSelected = selected.size > 0;
  // The next key is for the next image, whether or not the label has been written.
  if (!wasSelected && shown === "next") move(nextWithout(place, labels) - current);
  selected.clear();
  showPictures();
  return later(async () => {
    try {
      await ask("label", { page, labels });
    } catch (error) {
      if (shown === tab && !wasSelected) current = anchor = place;
      showPictures();
      throw error;
    }
    say(pairs.length === 1 ? `Labelled ${shownLabel(pairs[0][1]) ?? "nothing"}` : `${pairs.length} images labelled`);
    if (shown !== tab) return;
    if (shown === "next") {
      images = images.map((own) => (own.number in labels ? { ...own, label: labels[own.number] } : own));
      if (images.every((own) => own.label)) return load();
      if (images[current]?.label) current = anchor = nextWithout(current, {});
    } else {
      images = images.filter((own) => !(own.number in labels));
      current = anchor = Math.min(current, Math.max(0, images.length - 1));
    }
    showPictures();
  });
}

function nextWithout(start, labels) {
  const order = [...images.keys()];
  const round = [...order.slice(start + 1), ...order.slice(0, start + 1)];
  return round.find((i) => !images[i].label && !(images[i].number in labels)) ?? start;
}

function skip() {
  const rows = chosen().map((own) => own.number);
  if (!rows.length) return Promise.resolve();
  return later(async () => {
    await ask(tab === "suspects" ? "keep" : "skip", { rows });
    images = images.filter((own) => !rows.includes(own.number));
    selected.clear();
    current = anchor = Math.min(current, Math.max(0, images.length - 1));
    if (tab === "next" && images.every((own) => own.label)) return load();
    showPictures();
  });
}

function undo() {
  return later(async () => {
    const back = await ask("undo", { page });
    if (!back.length) return say("Nothing to undo");
    say(`Undone for ${back.length} ${back.length === 1 ? "image" : "images"}`);
    if (tab !== "next") return load();
    const numbers = new Set(back.map((own) => own.number));
    const shown = new Set(images.map((own) => own.number));
    const byNumber = new Map(back.map((own) => [own.number, own]));
    images = [
      ...back.filter((own) => !shown.has(own.number)),
      ...images.map((own) => byNumber.get(own.number) ?? own),
    ];
    current = anchor = Math.max(0, images.findIndex((own) => numbers.has(own.number)));
    showPictures();
  });
}

// -- moving and selecting ------------------------------------------------------------------------------

function move(by) {
  if (!images.length) return;
  current = Math.min(Math.max(0, current + by), images.length - 1);
  showPictures();
  $(`image-${images[current].number}`)?.scrollIntoView({ block: "nearest" });
}

function choose(i, upTo = false) {
  const number = images[i]?.number;
  if (number === undefined) return;
  if (upTo) {
    const [low, high] = [Math.min(anchor, i), Math.max(anchor, i)];
    for (const own of images.slice(low, high + 1)) selected.add(own.number);
  } else {
    anchor = i;
    if (!selected.delete(number)) selected.add(number);
  }
  current = i;
  showPictures();
}

function chooseAll() {
  const all = images.filter((own) => tab !== "next" || !own.label).map((own) => own.number);
  const every = all.every((number) => selected.has(number));
  selected.clear();
  if (!every) for (const number of all) selected.add(number);
  showPictures();
}

const columns = () => getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;

// -- dialogs -------------------------------------------------------------------------------------------

function zoom() {
  const image = images[current];
  if (!image) return;
  const img = $("closely-image");
  img.onload = () => img.classList.toggle("tiny", img.naturalWidth < 300);
  img.src = `${address(image)}?size=large`;
  img.alt = image.name;
  const prediction = image.prediction ? ` · ${image.prediction}? ${Math.round(100 * image.confidence)} %` : "";
  $("closely-name").textContent = image.name + (image.label ? ` · ${shownLabel(image.label)}` : "") + prediction;
  if (!$("closely").open) $("closely").showModal();
}

function newClass() {
  $("new-class-name").value = "";
  $("new-class-problem").textContent = "";
  $("new-class").showModal();
}

async function addClass() {
  const name = $("new-class-name").value;
  try {
    await ask("class", { name });
    $("new-class").close();
  } catch (error) {
    $("new-class-problem").textContent = error.message;
    refused = "";
    tell("");
  }
}

// -- keys ----------------------------------------------------------------------------------------------

const KEYS = {
  0: () => give(NONE), y: accept, s: skip, u: undo, z: zoom, c: newClass, a: chooseAll,
  n: () => later(load), Enter: zoom, Backspace: () => give(null), Delete: () => give(null),
  Escape: () => { selected.clear(); showPictures(); },
  ArrowLeft: () => move(-1), ArrowRight: () => move(1),
  ArrowUp: () => move(-columns()), ArrowDown: () => move(columns()),
};

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.metaKey || (event.ctrlKey && event.key !== "z")) return;
  if ($("new-class").open) {
    if (event.key === "Enter" && event.target === $("new-class-name")) { event.preventDefault(); addClass(); }
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if ($("closely").open) {
    if (key === "ArrowLeft" || key === "ArrowRight") { KEYS[key](); zoom(); event.preventDefault(); return; }
    if (!/^[0-9]$/.test(key)) return;
    $("closely").close();
  }
  const onButton = event.target instanceof HTMLButtonElement || event.target instanceof HTMLElement && event.target.tagName === "SUMMARY";
  if (event.target.getAttribute?.("role") === "tab" && key.startsWith("Arrow")) return;
  if (onButton && (key === "Enter" || key === " ")) return;
  if (event.ctrlKey) { event.preventDefault(); undo(); return; }
  if (key === " ") { event.preventDefault(); choose(current, event.shiftKey); return; }
  if (/^[1-9]$/.test(key)) {
    const own = state?.classes[Number(key) - 1];
    if (own) { event.preventDefault(); give(own.name); }
    return;
  }
  if (Object.hasOwn(KEYS, key)) { event.preventDefault(); KEYS[key](); }
});

// -- tabs and buttons ----------------------------------------------------------------------------------

const TABS = ["next", "labelled", "suspects"];

function show(name) {
  tab = name;
  for (const each of TABS) {
    $(`tab-${each}`).setAttribute("aria-selected", String(each === name));
    $(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
  images = [];
  selected.clear();
  $("of-class").hidden = name !== "labelled";
  later(load);
}

for (const [i, name] of TABS.entries()) {
  $(`tab-${name}`).addEventListener("click", () => show(name));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const other = TABS[(i + step + TABS.length) % TABS.length];
    $(`tab-${other}`).focus();
    show(other);
  });
}
const BUTTONS = {
  none: () => give(NONE), accept, skip, keep: skip, undo, zoom, all: chooseAll, more: () => later(load),
  write: () => later(() => ask("write")),
  "closely-close": () => $("closely").close(),
  "new-class-add": addClass, "new-class-cancel": () => $("new-class").close(),
};
for (const [id, work] of Object.entries(BUTTONS)) $(id).addEventListener("click", work);
$("closely").addEventListener("close", () => $("grid").focus({ preventScroll: true }));

// -- start ---------------------------------------------------------------------------------------------

await later(async () => {
  await ask("state");
  while (state.beginning) {
    $("heading").textContent = "Choosing the first images …";
    await new Promise((done) => setTimeout(done, 300));
    await ask("state");
  }
  await load();
  $("grid").focus({ preventScroll: true });
});
setInterval(() => { if (!document.hidden) ask("state").catch(() => {}); }, 1500);
