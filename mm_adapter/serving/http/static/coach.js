"use strict";
// The page of `mm-coach serve`: a clip is sent once, then asked about through OpenAI's protocol.

const $ = (selector) => document.querySelector(selector);
const LEARNER = "#c2410c", SHOWN = "#0a7d4f", EXPERT = "#374151", FPS = 4;
const state = { key: sessionStorage.getItem("key") || "", about: null, clip: null, messages: [], recorded: null, drawings: new Map() };

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(state.key ? { Authorization: `Bearer ${state.key}` } : {}) };
  const reply = await fetch(path, { ...options, headers }).catch(() => { throw new Error("The server does not answer."); });
  if (reply.ok) return reply;
  const body = await reply.json().catch(() => null);
  throw new Refused(reply.status, body?.error?.message || `The server says ${reply.status}.`);
}

const post = (path, body) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

// Beside what was just used: at the top of a phone's page nobody would see it.
function complain(error, beside = $("header")) {
  const box = $("#error");
  beside.after(box);
  box.textContent = error ? error.message : "";
  box.hidden = !error;
  if (error) box.scrollIntoView({ block: "nearest" });
}

// One thing at a time: an answer about one clip must not end up under another.
async function busy(work, beside) {
  if (state.busy) return complain(new Error("Wait for the answer, then try again."), beside);
  const buttons = document.querySelectorAll("main button");
  complain(null);
  state.busy = true;
  buttons.forEach((button) => { button.disabled = true; });
  try { await work(); } catch (error) { complain(error, beside); }
  state.busy = false;
  document.querySelectorAll("main button").forEach((button) => { button.disabled = false; });
}

// A bar and the seconds, while something takes its time.
async function withProgress(text, work) {
  const began = Date.now();
  const tell = () => { $("#progress span").textContent = `${text} ${Math.round((Date.now() - began) / 1000)} s`; };
  tell();
  $("#progress").hidden = false;
  const ticking = setInterval(tell, 1000);
  try { return await work(); } finally {
    clearInterval(ticking);
    $("#progress").hidden = true;
  }
}

// --- drawings ---------------------------------------------------------------------------------------------------------

function project(joints) { // seen from the front: x to the right, z up
  const points = joints.flat().filter(Boolean);
  const [xs, zs] = [points.map((p) => p[0]), points.map((p) => p[2])];
  const span = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...zs) - Math.min(...zs), 1e-6);
  return { x: (Math.max(...xs) + Math.min(...xs)) / 2, z: (Math.max(...zs) + Math.min(...zs)) / 2, span };
}

function animate(canvas, motions) {
  clearInterval(state.drawings.get(canvas));
  const pen = canvas.getContext("2d");
  const view = project(motions.flatMap((motion) => motion.joints));
  const scale = 0.85 * Math.min(canvas.width, canvas.height) / view.span;
  let frame = 0;
  const draw = () => {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.lineWidth = 4;
    pen.lineCap = "round";
    for (const { joints, colour } of motions) {
      const pose = joints[frame % joints.length];
      pen.strokeStyle = colour;
      for (const [a, b] of state.about.bones) {
        if (!pose[a] || !pose[b]) continue;
        pen.beginPath();
        for (const joint of [pose[a], pose[b]]) {
          pen.lineTo(canvas.width / 2 + scale * (joint[0] - view.x), canvas.height / 2 - scale * (joint[2] - view.z));
        }
        pen.stroke();
      }
    }
    frame += 1;
  };
  draw();
  state.drawings.set(canvas, setInterval(draw, 1000 / FPS));
}

// --- the clip ---------------------------------------------------------------------------------------------------------

async function sendClip() {
  const form = new FormData();
  for (const name of ["exo", "ego", "pose"]) {
    const file = $(`#clip [name=${name}]`).files[0];
    if (file) form.append(name, file, file.name);
  }
  if (!form.has("exo") && state.recorded) form.append("exo", state.recorded, "recorded.webm");
  for (const name of ["start", "stop"]) {
    const value = $(`#clip [name=${name}]`).value;
    if (value) form.append(name, value);
  }
  const shown = form.get("exo") || form.get("ego");
  if (!shown) throw new Error("Choose a video, or record one.");
  const bytes = [...form.values()].reduce((sum, part) => sum + (part.size || 0), 0);
  if (bytes > state.about.limits.megabytes * 1e6) {
    throw new Error(`The files have ${Math.round(bytes / 1e6)} MB; at most ${state.about.limits.megabytes} MB are taken.`);
  }
  const megabytes = (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
  const sent = () => ask("/v1/clips", { method: "POST", body: form });
  state.clip = await (await withProgress(`Sending ${megabytes} MB and reading the clip …`, sent)).json();
  URL.revokeObjectURL($("#own").src);
  $("#own").src = URL.createObjectURL(shown);
  $("#strips").replaceChildren(...Object.entries(state.clip.frames).map(([view, frames]) => {
    const strip = Object.assign(document.createElement("div"), { className: "strip" });
    const name = Object.assign(document.createElement("span"), { textContent: view });
    strip.append(name, ...frames.map((src, i) => Object.assign(document.createElement("img"), { src, alt: `${view} frame ${i + 1}` })));
    return strip;
  }));
  $("#notes").replaceChildren(...state.clip.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
  $("#skeleton").hidden = !state.clip.joints;
  state.messages = [{ role: "system", content: state.about.system }];
  $("#messages").replaceChildren();
  for (const part of ["#seen", "#talk"]) $(part).hidden = false;
  $("#shown").hidden = true;
  if (state.clip.joints) animate($("#skeleton"), [{ joints: state.clip.joints, colour: LEARNER }]);
  $("#ask [name=question]").value = state.about.questions.commentary;
  $("#own").onloadedmetadata = () => $("#talk").scrollIntoView({ block: "nearest" }); // the video has its height only then
  $("#ask [name=question]").focus({ preventScroll: true });
}

async function record() {
  const button = $("#record"), camera = $("#camera"), pieces = [];
  const stream = await navigator.mediaDevices.getUserMedia({ video: true }).catch(() => { throw new Error("The camera cannot be used."); });
  let recorder;
  try {
    recorder = new MediaRecorder(stream);
    camera.srcObject = stream;
    camera.hidden = false;
    await camera.play();
  } catch (error) {
    stream.getTracks().forEach((track) => track.stop());
    camera.hidden = true;
    throw error;
  }
  recorder.ondataavailable = (event) => pieces.push(event.data);
  recorder.onstop = () => {
    clearTimeout(limit);
    stream.getTracks().forEach((track) => track.stop());
    state.recorded = new Blob(pieces, { type: recorder.mimeType });
    state.recorder = null;
    camera.hidden = true;
    button.textContent = "record again";
    button.classList.remove("recording");
    $("#clip [name=exo]").value = "";
    busy(sendClip, $("#clip"));
  };
  state.recorder = recorder;
  button.textContent = "stop";
  button.classList.add("recording");
  recorder.start();
  const limit = setTimeout(() => recorder.stop(), 1000 * (state.about.limits.seconds - 1));
}

// --- the conversation -------------------------------------------------------------------------------------------------

function say(role, text) {
  const line = Object.assign(document.createElement("li"), { className: role, textContent: text });
  $("#messages").append(line);
  return line;
}

function withQuestion(question) {
  const clip = state.messages.length === 1 ? [{ type: "clip", clip_id: state.clip.id }] : [];
  return [...state.messages, { role: "user", content: [...clip, { type: "text", text: question }] }];
}

const completion = (messages, answer, stream) =>
  post("/v1/chat/completions", { model: state.about.model, messages, temperature: 0, stream, vllm_xargs: { coach_answer: answer } });

async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (done ? "\n" : value)).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.startsWith("data:") ? line.slice(5).trim() : "";
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
    if (done) return;
  }
}

async function question() {
  const field = $("#ask [name=question]");
  const text = field.value.trim() || state.about.questions.commentary;
  const messages = withQuestion(text);
  const asked = say("user", text), line = say("assistant waiting", "");
  try {
    for await (const event of events(await completion(messages, "words", true))) {
      if (event.error) throw new Error(event.error.message || "The engine broke off its answer.");
      line.textContent += event.choices?.[0]?.delta?.content || "";
      line.scrollIntoView({ block: "nearest" });
    }
  } catch (error) {
    asked.remove();
    line.remove();
    throw error;
  }
  line.className = "assistant";
  line.textContent = line.textContent.trim();
  state.messages = [...messages, { role: "assistant", content: line.textContent }];
  field.value = "";
  field.scrollIntoView({ block: "nearest" });
}

// What the coach says in a task that it was taught, such as a score with its narrative; the conversation stays as it is.
async function assess(task, phrase) {
  const { answer, stated } = await (await post("/v1/assess", { clip_id: state.clip.id, task })).json();
  say("user", phrase);
  const facts = Object.entries(stated).map(([name, text]) => `${name}: ${text}`);
  const unread = (answer.unread || []).map((part) => `not readable: ${part}`);
  say("assistant", [answer.text, ...facts, ...unread].filter(Boolean).join("\n")).scrollIntoView({ block: "nearest" });
}

async function showMe() {
  const remarks = state.messages.filter((message) => message.role === "assistant" && typeof message.content === "string");
  if (!remarks.length) throw new Error("Ask what to improve first; a demonstration follows a remark.");
  const messages = withQuestion(state.about.questions.demonstration);
  const text = (await (await completion(messages, "poses", false)).json()).choices[0].message.content;
  const { joints, codes } = await (await post("/v1/poses", { text })).json();
  say("user", state.about.questions.demonstration);
  say("assistant", "Like this:");
  state.messages = [...messages, { role: "assistant", content: [{ type: "pose", codes }] }];
  $("#shown").hidden = false;
  $("#shown").scrollIntoView();
  const own = state.clip.joints ? [{ joints: state.clip.joints, colour: LEARNER }] : [];
  animate($("#corrected"), [...own, { joints, colour: SHOWN }]);
  $("#expertcaption").textContent = state.about.experts ? "looking for an expert …" : "This server has no experts' clips.";
  if (!state.about.experts) return;
  const found = await (await post("/v1/experts", { clip_id: state.clip.id, remark: remarks.at(-1).content })).json();
  $("#ranking").replaceChildren(...found.experts.map((expert, place) => {
    const line = document.createElement("li");
    const score = `${place + 1}. ${expert.activity}, ${expert.seconds.toFixed(1)} s, ${expert.clip_id} (log-likelihood − prior: ${expert.score.toFixed(3)}) `;
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "watch" });
    button.onclick = () => busy(() => watch(expert, place, found.gallery), $("#ranking"));
    line.append(score, button);
    return line;
  }));
  await watch(found.experts[0], 0, found.gallery);
}

async function watch(expert, place, gallery) {
  const [video, canvas] = [$("#expert"), $("#expertposes")];
  $("#expertcaption").textContent = `an expert of ${expert.activity}: place ${place + 1} of ${gallery}`;
  const reply = await ask(`/v1/experts/${encodeURIComponent(expert.clip_id)}/video`).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  video.hidden = !reply;
  canvas.hidden = Boolean(reply);
  if (!reply) return animate(canvas, [{ joints: expert.joints, colour: EXPERT }]);
  URL.revokeObjectURL(video.src);
  video.src = URL.createObjectURL(await reply.blob());
  await video.play();
}

// --- the page ---------------------------------------------------------------------------------------------------------

async function open() {
  try {
    state.about = await (await ask("/v1/coach")).json();
  } catch (error) {
    $("#key").hidden = error.status !== 401;
    if (error.status !== 401 || state.key) complain(error);
    return;
  }
  complain(null);
  $("#key").hidden = true;
  const { about } = state;
  const facts = [about.views.length ? `looks at ${about.views.join(" and ")} video` : "looks at poses alone"];
  facts.push(about.finds_poses ? "finds poses by itself" : "needs poses beside the video");
  if (about.experts) facts.push(`${about.experts} expert clips`);
  $("#about").textContent = facts.join(" · ");
  const warnings = [about.encoder.includes("random weights") && `video encoder: ${about.encoder}`, about.synthetic_experts && "synthetic experts"];
  for (const warning of warnings.filter(Boolean)) {
    $("#about").append(" ", Object.assign(document.createElement("span"), { className: "flag", textContent: warning }));
  }
  $("#show").hidden = !about.can_demonstrate;
  $("#tasks").replaceChildren(...Object.entries(about.tasks).map(([task, phrase]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: phrase });
    button.onclick = () => converse(() => assess(task, phrase));
    return button;
  }));
  $("#clip [name=ego]").parentElement.hidden = !about.views.includes("ego");
  $("#record").hidden = !navigator.mediaDevices; // browsers give cameras to HTTPS and the loopback alone
  $("main").hidden = false;
}

$("#key").onsubmit = (event) => {
  event.preventDefault();
  state.key = $("#key [name=key]").value;
  sessionStorage.setItem("key", state.key);
  open();
};
$("#clip").onsubmit = (event) => { event.preventDefault(); busy(sendClip, $("#clip")); };
$("#record").onclick = () => (state.recorder ? state.recorder.stop() : busy(record, $("#clip")));
for (const name of ["exo", "ego"]) $(`#clip [name=${name}]`).onchange = () => { state.recorded = null; };
// The next question is typed where the last one was.
const converse = (work) => busy(work, $("#ask")).then(() => $("#ask [name=question]").focus({ preventScroll: true }));
$("#ask").onsubmit = (event) => { event.preventDefault(); converse(question); };
$("#show").onclick = () => converse(showMe);
open();
