// One person over time: who is followed, what was seen of them, repetitions so far.

import { repetitions } from "./repetitions.mjs";

const FAR = 0.5; // of the person's box: a mean step of the joints beyond it is somebody else
const LOST = 0.7; // seconds without the person, after which another one may take the place
const KEPT = 120; // seconds of frames that are kept; repetitions before are only counted

/** Nobody followed yet. */
export function nobody() {
  return { times: [], frames: [], scores: [], verdicts: [], before: { every: 0, judged: 0 } };
}

/**
 * Takes a frame's people and returns the person followed, null if they are not there; `all` forgets
 * one who was lost, and starts with the best of those who are there.
 *
 * people: as decode.mjs gives them, in pixels of the picture; least: a joint with a lower score is
 * absent.
 */
export function follow(all, time, people, least) {
  const last = all.frames.length - 1;
  let found = people[0] ?? null;
  if (last >= 0) {
    const near = people
      .map((person) => [apart(all.frames[last], person.xy), person])
      .sort((a, b) => a[0] - b[0])[0];
    if (near && near[0] <= FAR) found = near[1];
    else if (time - all.times[last] <= LOST) found = null;
    else if (found) Object.assign(all, nobody());
  }
  if (!found || !(time > (all.times.at(-1) ?? -Infinity))) return found;
  const there = found.score.map((score) => score >= least);
  if (!there.some(Boolean)) return found;
  all.times.push(time);
  all.frames.push(found.xy.map((place, j) => (there[j] ? place : null)));
  all.scores.push(found.score.map((score, j) => (there[j] ? score : 0)));
  return found;
}

/** The mean distance of the joints both have, as a share of the first one's box. */
function apart(frame, places) {
  const both = frame.flatMap((place, j) => (place ? [[place, places[j]]] : []));
  const [width, height] = [0, 1].map((d) => {
    const values = both.map(([place]) => place[d]);
    return Math.max(...values) - Math.min(...values);
  });
  const total = both.reduce((sum, [a, b]) => sum + Math.hypot(a[0] - b[0], a[1] - b[1]), 0);
  return total / both.length / Math.max(Math.hypot(width, height), 1);
}

/** Keeps the verdict on the frames from start to stop (seconds): told, or not told. */
export function remember(all, start, stop, told) {
  all.verdicts.push({ start, stop, told });
}

/** How many repetitions the person has done: {every, judged}, judged those of which a part has a
 * verdict. */
export function count(all, joints) {
  const told = (one) =>
    all.verdicts.some(({ start, stop, told }) => told && start <= one.stop && stop >= one.start);
  const done = repetitions(all.times, all.frames, joints)
    .map((one) => ({ ...one, judged: told(one) }));
  const cut = (all.times.at(-1) ?? 0) - KEPT / 2;
  if (all.times.length && all.times.at(-1) - all.times[0] > KEPT) forget(all, done, cut);
  return together(all.before, done.filter((one) => one.top >= (all.times[0] ?? 0)));
}

/** Counts of before, and those of further repetitions. */
function together(before, more) {
  const judged = more.filter((one) => one.judged).length;
  return { every: before.every + more.length, judged: before.judged + judged };
}

/** Drops the frames before `cut`, a place between two repetitions, after counting what they hold. */
function forget(all, done, cut) {
  const crossing = done.find((one) => one.start < cut && one.stop > cut);
  const end = crossing ? crossing.start : cut;
  const first = all.times.findIndex((time) => time >= end);
  all.before = together(all.before, done.filter((one) => one.top < all.times[first]));
  for (const part of [all.times, all.frames, all.scores]) part.splice(0, first);
  all.verdicts = all.verdicts.filter(({ stop }) => stop >= end);
}
