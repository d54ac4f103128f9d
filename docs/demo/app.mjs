// The page: a picture, a video or the camera -> people drawn on it, repetitions and the verdict.

import { bytes, json, runtime } from "./assets.mjs";
import { drawFitted, fit, toPicture } from "./canvas.mjs";
import { drawPeople, shownSize } from "./drawing.mjs";
import { detector, judge } from "./networks.mjs";
import { nobody } from "./person.mjs";
import { camera, nextFrame, opened, release } from "./sources.mjs";
import { step, verdict } from "./watching.mjs";
import { describeView, enable, introduce, say, showCount, showJoints, showRate, showVerdict }
  from "./view.mjs";

const JUDGED_EVERY = 0.5; // seconds of the video between verdicts

const video = document.getElementById("video");
const view = document.getElementById("view").getContext("2d");
const frame = document.createElement("canvas").getContext("2d"); // what the people are found in
const small = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
let models; // {spec, find, ask}
let run = 0; // number of the source that is shown; a loop of an older one ends

/** Finds the people of what an element shows, in its pixels, and draws them. */
async function look(source, size, all, time) {
  const { pose } = models.spec;
  drawFitted(small, source, ...size, pose.canvas, pose.fill);
  const [width, height] = shownSize(...size);
  resize(frame.canvas, width, height);
  frame.drawImage(source, 0, 0, width, height); // kept: a video goes on while the network runs
  const canvas = await models.find(small.getImageData(0, 0, pose.canvas, pose.canvas).data);
  const map = fit(...size, pose.canvas);
  const people = canvas.map((person) => ({
    ...person, xy: person.xy.map(([x, y]) => toPicture(map, x, y)),
  }));
  const followed = all ? step(all, time, people, pose) : null;
  resize(view.canvas, width, height);
  view.drawImage(frame.canvas, 0, 0);
  drawPeople(view, people, followed, pose, size[0]);
  return people;
}

/** Sets the size of a canvas, which clears it, only where it changes. */
function resize(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}

async function showPicture(picture, name) {
  const size = [picture.width, picture.height];
  const people = await look(picture, size, null, 0);
  picture.close();
  describeView(people.length, size);
  showJoints(people, models.spec.pose.joints);
  const found = people.length === 1 ? "1 person" : `${people.length || "no"} people`;
  say(`${name}: ${found} in ${size[0]} × ${size[1]} pixels`);
}

/** Plays a video or the camera until it ends or another source is chosen. */
async function watch(mine, name, live) {
  const over = () => mine !== run || video.ended || (live && !video.srcObject?.active);
  const [all, recent] = [nobody(), []];
  let [judged, people, size, failed] = [-Infinity, [], [0, 0], null];
  const tables = document.getElementById("joints");
  video.addEventListener("error", () => (failed = video.error), { once: true });
  await video.play();
  for (;;) {
    const time = await nextFrame(video, () => failed || over());
    if (time === null) break;
    size = [video.videoWidth, video.videoHeight];
    people = await look(video, size, all, time);
    if (mine !== run) return;
    recent.push(performance.now());
    while (recent[0] < recent.at(-1) - 2000) recent.shift();
    document.body.dataset.frames = Number(document.body.dataset.frames ?? 0) + 1;
    if (time - judged >= JUDGED_EVERY || time < judged) {
      judged = time;
      await conclude(all, size);
      if (mine !== run) return;
      showRate((1000 * (recent.length - 1)) / (recent.at(-1) - recent[0]));
      describeView(people.length, size);
      if (tables.open) showJoints(people, models.spec.pose.joints);
    }
  }
  if (mine !== run) return;
  const { every } = await conclude(all, size);
  showJoints(people, models.spec.pose.joints);
  end(failed ? `${name}: the rest of the video can't be decoded`
    : live ? "The camera has stopped"
      : `${name}: the end, ${every === 1 ? "1 repetition" : `${every} repetitions`}`, failed);
}

/** The verdict on the last seconds and the number of repetitions, shown. */
async function conclude(all, size) {
  const { told, reason, count } = await verdict(all, size, models);
  showVerdict(told, reason);
  showCount(count);
  return count;
}

/** Starts a source, and says in one line what went wrong if it can't. */
async function begin(open) {
  const mine = ++run;
  release(video);
  showCount({ every: 0, judged: 0 });
  showRate(0);
  showVerdict(null);
  showJoints([], []);
  enable(true, true);
  try {
    await open(mine);
  } catch (error) {
    if (mine === run) end(error.message, true);
  }
}

/** Nothing is played any more; `text` says why. */
function end(text, wrong = false) {
  run++;
  release(video);
  // Not lost to the keyboard: a disabled button gives the focus away.
  const focused = document.activeElement === document.getElementById("stop");
  enable(true, false);
  if (focused) document.getElementById("camera").focus();
  say(text, Boolean(wrong));
}

async function fromFile(mine, file) {
  say(`${file.name}: opening`);
  const { picture } = await opened(file, video);
  if (mine !== run) return picture?.close();
  if (picture) {
    await showPicture(picture, file.name);
    if (mine === run) enable(true, false);
    return;
  }
  say(`${file.name}: playing`);
  await watch(mine, file.name, false);
}

async function fromCamera(mine) {
  say("Asking for the camera");
  const { stream } = await camera(video);
  if (mine !== run) return stream.getTracks().forEach((track) => track.stop());
  say("The camera is on; its pictures stay in this page");
  await watch(mine, "camera", true);
}

async function start() {
  try {
    const spec = await json("model.json");
    const size = (spec.pose.bytes + spec.scorer.bytes) / 1e6;
    say(`Loading the models (${size.toFixed(1)} MB) and their runtime …`);
    introduce(spec.scorer);
    Object.assign(small.canvas, { width: spec.pose.canvas, height: spec.pose.canvas });
    const ort = await runtime();
    const find = await detector(ort, await bytes(spec.pose.file), spec.pose);
    const ask = await judge(ort, await bytes(spec.scorer.file), spec.scorer);
    models = { spec, find, ask };
  } catch (error) {
    say(`The models can't be started: ${error.message}`, true);
    return;
  }
  const input = document.getElementById("file");
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (file) begin((mine) => fromFile(mine, file));
  });
  input.addEventListener("click", () => (input.value = "")); // the same file again is a change
  document.getElementById("camera").addEventListener("click", () => begin(fromCamera));
  document.getElementById("stop").addEventListener("click", () => end("Stopped"));
  enable(true, false);
  say("Ready: choose a picture or a video, or use the camera");
}

start();
