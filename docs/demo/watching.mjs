// Frame after frame to repetitions and verdicts; no page is needed for it.

import { attendedTimes, lastWindow, reason, resampled } from "./clips.mjs";
import { count, follow, remember } from "./person.mjs";

const LEAST_SEEN = 0.5; // seconds that a person must be seen before there is a verdict

/** Takes the people of a frame, in pixels of the picture; the one who is followed, or null. */
export function step(all, time, people, pose) {
  return follow(all, time, people, pose.least);
}

/**
 * What there is to say now: {told, reason, count}; count as person.count gives it.
 *
 * told: {probability, attention, times, now, seconds}, null without a verdict; reason: why. size:
 * width and height of the picture; models: {spec, ask}, ask as networks.judge gives it.
 */
export async function verdict(all, size, { spec, ask }) {
  const { pose, scorer } = spec;
  const { times } = all;
  if (times.length < 2 || times.at(-1) - times[0] < LEAST_SEEN) {
    return { told: null, reason: "", count: count(all, pose.joints) };
  }
  const at = lastWindow(times, scorer);
  const first = Math.floor(at[0]);
  const places = scorer.joints.map((name) => pose.joints.indexOf(name));
  const pick = (rows, none) => rows.slice(first).map((row) => places.map((j) => row[j] ?? none));
  const steps = at.map((place) => place - first);
  const clip = resampled(pick(all.frames, null), pick(all.scores, 0), steps);
  const why = reason(clip, scorer);
  const found = why ? null : await ask(clip, size);
  const [start, now] = [times[first], times.at(-1)];
  remember(all, start, now, !why);
  const told = found && {
    ...found, times: attendedTimes(times, at, found.attention.length), now, seconds: scorer.seconds,
  };
  return { told, reason: why, count: count(all, pose.joints) };
}
