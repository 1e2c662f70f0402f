// Two clips on one clock. The clock is ours; videos and drawings follow it, so a missing video changes nothing.
"use strict";
const $ = (id) => document.getElementById(id);
const SIDES = ["learner", "expert"];
const SPEEDS = [1, 0.5, 0.25];
const state = { tuples: [], contents: new Map(), decisions: {}, busy: false, asked: 0, number: 0, item: null, time: 0, playing: false, speed: 0, view: "exo", last: 0, sent: 0 };

async function ask(url, options) {
  const response = await fetch(url, options);
  const content = await response.json();
  if (!response.ok) throw new Error(content.error);
  return content;
}

function fail(error) {
  $("error").textContent = error.message;
  $("error").hidden = false;
}

const length = () => state.item.learner.stop - state.item.learner.start;
const figure = (side) => document.querySelector(`figure[data-side="${side}"]`);
const expertStart = () => ($("fix").hidden ? state.item.expert.start : Number($("fix").start.value));
const clipStart = (side) => (side === "learner" ? state.item.learner.start : expertStart());
const valid = (id) => (state.decisions[id] || []).filter((d) => d.content === state.contents.get(id));
const mine = (id) => valid(id).find((d) => d.reviewer === $("reviewer").value.trim());

async function start() {
  Object.assign(state, await ask("/api/tuples"));
  state.contents = new Map(state.tuples.map((t) => [t.id, t.content]));
  $("flag").hidden = !state.synthetic;
  $("reviewer").value = localStorage.getItem("reviewer") || "";
  for (const region of Object.keys(state.regions)) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "region", value: region });
    label.append(box, ` ${region}`);
    $("choices").append(label);
  }
  await show(Math.min(Number(location.hash.slice(1)) || 0, state.tuples.length - 1));
  requestAnimationFrame(tick);
  setInterval(refresh, 4000);
}

async function refresh() {
  const sent = state.sent; // an answer that was asked for before a decision was sent is older than that decision
  const decisions = await ask("/api/decisions").catch(() => null);
  if (decisions && sent === state.sent) { state.decisions = decisions; describe(); }
}

async function show(number) {
  const asked = (state.asked += 1);
  const item = await ask(`/api/tuples/${number}`);
  if (asked !== state.asked) return; // another one was asked for since
  state.number = number;
  state.item = item;
  location.hash = number;
  $("fix").hidden = true;
  $("error").hidden = true;
  $("seek").max = length() - 1;
  state.time = 0;
  load();
  describe();
}

function load() {
  for (const side of SIDES) {
    const video = figure(side).querySelector("video"), absent = figure(side).querySelector(".absent");
    absent.hidden = true;
    video.onerror = () => { absent.hidden = false; };
    video.src = `/videos/${state.number}/${side}/${state.view}.mp4`;
  }
}

function inWords(decision) {
  const changes = [];
  if (decision.summary !== null) changes.push(`“${decision.summary.trim()}”`);
  if (decision.regions !== null) changes.push(decision.regions.join(", "));
  if (decision.expert_start !== null) changes.push(`expert from frame ${decision.expert_start}`);
  const stale = decision.content === state.item.content ? "" : " (stale)";
  return `${decision.reviewer}: ${decision.verdict}${changes.length ? ` ${changes.join(", ")}` : ""}${stale}`;
}

function describe() {
  const item = state.item, source = item.provenance;
  const decided = state.tuples.filter((t) => valid(t.id).length).length;
  $("position").textContent = `${state.number + 1} of ${state.tuples.length}`;
  $("progress").textContent = `${decided} decided, ${state.tuples.length - decided} to go`;
  for (const side of SIDES)
    figure(side).querySelector("figcaption").textContent = `${side}: ${item[side].skill}, ${item.task}`;
  $("remark").textContent = item.remark;
  $("summary").textContent = item.summary;
  $("regions").textContent = item.regions.join(", ");
  $("praise").textContent = source.expert_text;
  $("alignment").textContent = item.alignment_mm === null ? "no poses" : `${item.alignment_mm.toFixed(1)} mm, best of ${source.experts_considered} experts`;
  const all = state.decisions[item.tuple_id] || [];
  $("decisions").textContent = all.map(inWords).join("; ") || "none yet";
  const chosen = mine(item.tuple_id);
  for (const button of document.querySelectorAll("[data-verdict]"))
    button.classList.toggle("chosen", chosen !== undefined && chosen.verdict === button.dataset.verdict);
}

async function decide(verdict, changes = {}) {
  const reviewer = $("reviewer").value.trim();
  if (!reviewer) { fail(new Error("Not saved: say who you are first.")); $("reviewer").focus(); return; }
  const body = JSON.stringify({ tuple_id: state.item.tuple_id, content: state.item.content, verdict, reviewer, ...changes });
  try {
    state.sent += 1;
    state.decisions = await ask("/api/decisions", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    state.sent += 1;
  } catch (error) { fail(new Error(`Not saved: ${error.message}`)); return; }
  $("error").hidden = true;
  $("fix").hidden = true;
  describe();
  if (verdict !== "undo") await nextUndecided();
}

async function exclusively(action) {
  if (state.busy) return; // a second key press would be about the tuple that is being left
  state.busy = true;
  try { await action(); } catch (error) { fail(error); } finally { state.busy = false; }
}

async function nextUndecided() {
  const count = state.tuples.length;
  for (let step = 1; step <= count; step += 1) {
    const number = (state.number + step) % count;
    if (!valid(state.tuples[number].id).length) return show(number);
  }
}

function openFix() {
  const form = $("fix");
  const fixed = valid(state.item.tuple_id).findLast((d) => d.verdict === "fix") || {};
  const regions = fixed.regions || state.item.regions;
  form.summary.value = fixed.summary || state.item.summary;
  form.start.value = fixed.expert_start ?? state.item.expert.start;
  for (const box of form.querySelectorAll("[name=region]")) box.checked = regions.includes(box.value);
  form.hidden = false;
  form.summary.focus();
  previewStart();
}

function closeFix() {
  document.activeElement.blur();
  if (!$("fix").hidden) show(state.number);
}

async function previewStart() {
  const start = Number($("fix").start.value);
  const number = state.number;
  const content = await ask(`/api/tuples/${number}?expert_start=${start}`).catch((error) => { fail(error); return null; });
  if (content && number === state.number) { $("error").hidden = true; state.item.poses.expert = content.poses.expert; }
}

function saveFix() {
  const form = $("fix"), item = state.item, changes = {};
  const regions = [...form.querySelectorAll("[name=region]:checked")].map((box) => box.value);
  if (form.summary.value.trim() !== item.summary) changes.summary = form.summary.value;
  if (regions.join() !== item.regions.join()) changes.regions = regions;
  if (Number(form.start.value) !== item.expert.start) changes.expert_start = Number(form.start.value);
  exclusively(() => decide("fix", changes));
}

const seek = (frame) => { state.playing = false; state.time = Math.max(0, Math.min(length() - 1, frame)) / state.fps; };
const toggle = () => { state.playing = !state.playing; };
const turnView = () => { state.view = state.view === "exo" ? "ego" : "exo"; $("view").textContent = state.view; load(); };
const turnSpeed = () => { state.speed = (state.speed + 1) % SPEEDS.length; $("speed").textContent = `${SPEEDS[state.speed]}×`; };
const move = (step) => show((state.number + step + state.tuples.length) % state.tuples.length);

function tick(now) {
  if (state.playing) state.time = (state.time + ((now - state.last) / 1000) * SPEEDS[state.speed]) % (length() / state.fps);
  state.last = now;
  const frame = Math.min(length() - 1, Math.floor(state.time * state.fps + 1e-6));
  $("seek").value = frame;
  $("frame").textContent = `frame ${frame + 1} / ${length()}`;
  $("play").textContent = state.playing ? "pause" : "play";
  for (const side of SIDES) {
    follow(figure(side).querySelector("video"), clipStart(side) / state.fps + state.time);
    draw(figure(side).querySelector("canvas"), state.item.poses[side][frame], side);
  }
  requestAnimationFrame(tick);
}

function follow(video, want) {
  if (video.readyState < 1 || video.seeking) return;
  const off = Math.abs(video.currentTime - want);
  if (state.playing && off < 0.15) {
    video.playbackRate = SPEEDS[state.speed];
    if (video.paused) video.play().catch(() => {});
  } else {
    if (!state.playing) video.pause();
    if (off > 0.012) video.currentTime = want + 0.002;
  }
}

function draw(canvas, joints, side) {
  const context = canvas.getContext("2d"), { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const [left, right] = [joints[11], joints[12]];
  if (!left || !right) return;
  const yaw = Math.atan2(right[1] - left[1], right[0] - left[0]);
  const centre = [0, 1, 2].map((axis) => (left[axis] + right[axis]) / 2);
  const scale = height / 2.6;
  const place = (joint) => {
    const [x, y, z] = joint.map((value, axis) => value - centre[axis]);
    // Seen a little from the side, so that depth shows.
    const across = Math.cos(yaw + 0.5) * x + Math.sin(yaw + 0.5) * y;
    return [width / 2 - across * scale, height / 2 - z * scale];
  };
  const marked = new Set(state.item.regions.flatMap((region) => state.regions[region] || []));
  context.lineCap = "round";
  for (const [a, b] of state.bones) {
    if (!joints[a] || !joints[b]) continue;
    const on = marked.has(a) && marked.has(b);
    context.strokeStyle = on ? (side === "learner" ? "#b3372f" : "#24753b") : "#6b7785";
    context.lineWidth = on ? 6 : 3;
    context.beginPath();
    context.moveTo(...place(joints[a]));
    context.lineTo(...place(joints[b]));
    context.stroke();
  }
  joints.forEach((joint, index) => {
    if (!joint) return;
    context.fillStyle = marked.has(index) ? (side === "learner" ? "#b3372f" : "#24753b") : "#39424d";
    context.beginPath();
    context.arc(...place(joint), marked.has(index) ? 6 : 3.5, 0, 7);
    context.fill();
  });
}

const KEYS = {
  a: () => exclusively(() => decide("accept")), r: () => exclusively(() => decide("reject")), u: () => exclusively(() => decide("undo")),
  f: openFix, j: () => move(1).catch(fail), k: () => move(-1).catch(fail), n: () => nextUndecided().catch(fail), v: turnView, s: turnSpeed, " ": toggle,
  ArrowLeft: () => seek(Number($("seek").value) - 1), ArrowRight: () => seek(Number($("seek").value) + 1),
};
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("textarea, input:not([type=range]):not([type=checkbox])");
  if (event.key === "Escape") { closeFix(); return; }
  if (event.key === "Enter" && event.ctrlKey && !$("fix").hidden) { saveFix(); return; }
  const pressing = event.key === " " && event.target.matches("button, input");
  if (typing || pressing || !$("fix").hidden || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});
$("reviewer").addEventListener("change", () => { localStorage.setItem("reviewer", $("reviewer").value.trim()); describe(); });
$("seek").addEventListener("input", () => seek(Number($("seek").value)));
$("play").addEventListener("click", toggle);
$("speed").addEventListener("click", turnSpeed);
$("view").addEventListener("click", turnView);
$("cancel").addEventListener("click", closeFix);
$("fix").start.addEventListener("change", previewStart);
$("fix").addEventListener("submit", (event) => { event.preventDefault(); saveFix(); });
for (const button of document.querySelectorAll("[data-verdict]"))
  button.addEventListener("click", () => KEYS[button.dataset.verdict[0]]());
start().catch(fail);
