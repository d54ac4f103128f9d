// The last seconds of a person as the scorer takes them, and whether they show its exercise at all.
// As bodyjax.score.scorer (window_rows), bodyjax.deform.resample and bodyjax.score.exercise.

import { evenly, interpolated, mean } from "./signal.mjs";

const SLACK = 1.25; // up to this share of `seconds`, everything is one window
const [SEEN, FILLED] = [2, 1];

/** Places, in frames, of the `stored` steps of the window that ends with the last frame. */
export function lastWindow(times, { stored, seconds }) {
  const last = times.length - 1;
  const step = (times[last] - times[0]) / Math.max(last, 1);
  const length = step > 0 ? seconds / step : last + 1;
  return evenly(last <= SLACK * length ? 0 : last - length, last, stored);
}

/**
 * Frames at the places `at`: {joints, visible, score}, flat arrays (steps, J, 2), (steps, J) twice.
 *
 * frames: for each a list of [x, y] or null; scores: for each a list of numbers. Joints that are
 * absent in a frame lie on the straight line between the frames that have them.
 */
export function resampled(frames, scores, at) {
  const count = frames[0].length;
  const clip = {
    joints: new Float32Array(at.length * count * 2),
    visible: new Uint8Array(at.length * count),
    score: new Float32Array(at.length * count),
  };
  const numbers = frames.map((_, i) => i);
  for (let joint = 0; joint < count; joint++) {
    const known = numbers.filter((i) => frames[i][joint]);
    const lines = known.length
      ? [0, 1].map((d) => interpolated(at, known, known.map((i) => frames[i][joint][d]))) : null;
    const sure = interpolated(at, numbers, scores.map((frame) => frame[joint]));
    at.forEach((place, step) => {
      const to = step * count + joint;
      clip.score[to] = sure[step];
      if (!lines) return;
      clip.joints[2 * to] = lines[0][step];
      clip.joints[2 * to + 1] = lines[1][step];
      clip.visible[to] = frames[nearer(place)][joint] ? SEEN : FILLED;
    });
  }
  return clip;
}

/** The frame nearer to a place; the later one if both are as near. */
function nearer(place) {
  const low = Math.floor(place);
  return place - low < 0.5 ? low : low + 1;
}

/** Why a clip has no verdict, "" if it has one; `spec` is model.json's scorer. */
export function reason(clip, spec) {
  const { exercise, joints } = spec;
  if (!exercise.weights.length) return "";
  const steps = clip.score.length / joints.length;
  let seen = 0;
  for (const score of clip.score) seen += score >= exercise.seen;
  if (seen / steps < exercise.least_joints) return exercise.hardly_seen;
  const evidence = [1, ...exercise.limbs.flatMap((limb) => direction(clip, limb, joints))];
  const like = evidence.reduce((sum, value, i) => sum + value * exercise.weights[i], 0);
  return like > 0 ? "" : exercise.unlike;
}

/** The mean direction [x, y] of a limb over the steps that show both of its joints. */
function direction(clip, limb, joints) {
  const [first, second] = limb.map((name) => joints.indexOf(name));
  if (first < 0 || second < 0) return [0, 0];
  const units = [];
  for (let at = 0; at < clip.visible.length; at += joints.length) {
    const [a, b] = [at + first, at + second];
    const along = [0, 1].map((d) => clip.joints[2 * b + d] - clip.joints[2 * a + d]);
    const length = Math.hypot(...along);
    if (!clip.visible[a] || !clip.visible[b] || length <= 1e-6) continue;
    units.push(along.map((value) => value / length));
  }
  return units.length ? [0, 1].map((d) => mean(units.map((unit) => unit[d]))) : [0, 0];
}

/** The second of each attended step: the middles of equal parts of the window `at`. */
export function attendedTimes(times, at, count) {
  const shares = Array.from({ length: count }, (_, i) => (i + 0.5) / count);
  const rows = interpolated(shares, evenly(0, 1, at.length), at);
  return interpolated(rows, times.map((_, i) => i), times);
}
