// Counting repetitions from the phase of a movement. As bodyjax.score.repetitions, whose words and
// constants these are: the joints of a clip move mostly along one line, and a repetition is one hill
// of that curve, away from the resting pose and back.

import { detrended, evenly, hills, interpolated, mainLine, mean, median, quantile, roundEven,
  smoothed } from "./signal.mjs";

const LEAST_MOVE = 0.12; // torso lengths
const LEAST_HILL = 0.25; // of the movement's height
const SHORTEST = 0.4; // seconds
const SMOOTHING = 0.25; // seconds
const EDGE = 0.9; // of a hill's height: there a repetition starts and stops

/**
 * The repetitions of a clip, in order: {start, top, stop} seconds.
 *
 * times: seconds, rising; frames: for each time a list of [x, y] pixels, null where absent; joints:
 * their names. A movement that is too small has none.
 */
export function repetitions(times, frames, joints) {
  const count = times.length;
  if (count < 5) return [];
  const rate = (count - 1) / Math.max(times[count - 1] - times[0], 1e-6);
  const even = evenly(times[0], times[count - 1], count);
  let curve = interpolated(even, times, phase(frames, joints));
  const window = Math.max(5, 2 * roundEven((SMOOTHING * rate) / 2) + 1);
  if (window < count) curve = smoothed(curve, window);
  const height = quantile(curve, 0.98) - quantile(curve, 0.02);
  if (height < LEAST_MOVE) return [];
  const apart = Math.max(Math.max(SHORTEST, 0.6 * period(curve, rate)) * rate, 1);
  // The resting pose is at both ends, so the right way up has one hill more than the other.
  const options = { apart, prominence: LEAST_HILL * height };
  const turned = curve.map((value) => -value);
  const [up, down] = [hills(curve, options), hills(turned, options)];
  const level = curve[0] + curve[count - 1];
  const upright =
    up.length > down.length || (up.length === down.length && level <= 2 * median(curve));
  const rows = upright ? bounds(curve, up) : bounds(turned, down);
  const numbers = even.map((_, i) => i);
  return rows.map((row) => {
    const [start, top, stop] = interpolated(row, numbers, even);
    return { start, top, stop };
  });
}

/** How far a person is along the main line of their movement at each frame, in torso lengths. */
export function phase(frames, joints) {
  const seen = joints.map((_, j) => frames.flatMap((frame, i) => (frame[j] ? [i] : [])));
  const kept = joints.map((_, j) => j).filter((j) => seen[j].length >= 0.5 * frames.length);
  if (frames.length < 3 || !kept.length) return frames.map(() => 0);
  const length = torsoLength(frames, joints);
  const numbers = frames.map((_, i) => i);
  const columns = kept.flatMap((j) =>
    [0, 1].map((d) => {
      const known = seen[j].map((i) => frames[i][j][d]);
      return detrended(interpolated(numbers, seen[j], known).map((value) => value / length));
    }));
  const rows = numbers.map((i) => columns.map((column) => column[i]));
  const line = mainLine(rows);
  return rows.map(
    (row) => row.reduce((sum, value, k) => sum + value * line[k], 0) / Math.sqrt(kept.length));
}

/** The median distance between the middles of hips and shoulders; without them, half the median
 * diagonal of the joints' box. */
function torsoLength(frames, joints) {
  const ends = ["hip", "shoulder"].map((part) =>
    ["left", "right"].map((side) => joints.indexOf(`${side}_${part}`)).filter((j) => j >= 0));
  const middle = (frame, places) =>
    [0, 1].map((d) => mean(places.map((j) => (frame[j] ? frame[j][d] : NaN))));
  if (ends.every((places) => places.length)) {
    const lengths = frames
      .map((frame) => {
        const [hips, shoulders] = ends.map((places) => middle(frame, places));
        return Math.hypot(hips[0] - shoulders[0], hips[1] - shoulders[1]);
      })
      .filter(Number.isFinite);
    if (lengths.length && median(lengths) > 0) return median(lengths);
  }
  const boxes = frames
    .map((frame) => frame.filter(Boolean))
    .filter((there) => there.length)
    .map((there) => {
      const [across, down] = [0, 1].map((d) => there.map((place) => place[d]));
      return Math.hypot(
        Math.max(...across) - Math.min(...across), Math.max(...down) - Math.min(...down));
    });
  return boxes.length ? Math.max(median(boxes) / 2, 1) : 1;
}

/** Seconds between repetitions: the highest peak of the autocorrelation; 0 if there is none. */
export function period(curve, rate) {
  const level = mean(curve);
  const away = curve.map((value) => value - level);
  const product = (shift) => {
    let sum = 0;
    for (let i = shift; i < away.length; i++) sum += away[i] * away[i - shift];
    return sum;
  };
  const power = product(0);
  if (power <= 0) return 0;
  const likeness = away.map((_, shift) => product(shift) / power);
  const peaks = hills(likeness).filter((top) => top >= SHORTEST * rate && likeness[top] > 0.2);
  let best = peaks[0];
  for (const top of peaks) if (likeness[top] > likeness[best]) best = top;
  return peaks.length ? best / rate : 0;
}

/** [start, top, stop] of each hill, as places on the line: where EDGE of each side's own height is
 * left below the top. */
function bounds(line, tops) {
  if (!tops.length) return [];
  const valleys = tops.slice(1).map((top, i) => lowestBetween(line, tops[i], top));
  const ends = [0, ...valleys, line.length - 1];
  return tops.map((top, i) => [
    top - edge(line.slice(ends[i], top + 1).reverse()),
    top,
    top + edge(line.slice(top, ends[i + 1] + 1)),
  ]);
}

function lowestBetween(line, first, last) {
  let lowest = first;
  for (let i = first; i <= last; i++) if (line[i] < line[lowest]) lowest = i;
  return lowest;
}

/** Steps from the top of a hill, side[0], to where EDGE of the way down is done. */
function edge(side) {
  const level = side[0] - EDGE * (side[0] - Math.min(...side));
  const after = side.findIndex((value) => value <= level);
  if (after <= 0) return 0;
  const [before, there] = [side[after - 1], side[after]];
  return after - 1 + (before - level) / (before - there);
}
