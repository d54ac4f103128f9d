// The outputs of the network's heads -> people. As bodyjax.detect.by_centers: each centre is a
// person; a joint is the best cell of its heat map near the regressed place, moved by its offset.

const WINDOW = 5; // cells: in it a centre must be the highest
const FLOOR = 1e-6; // of heat maps: where they are empty, the nearest cell is the best
const MOST_STEP = 1.5; // cells that an offset may move a joint
const AREA_OF_BOX = 0.53; // area of a person, as a share of the box of the joints

/**
 * The people of a canvas, best first: {xy: [[x, y], ...] canvas pixels, score: [...], center}.
 *
 * maps: flat arrays heatmaps (h, w, J), center (h, w), regress and offset (h, w, J, 2); height and
 * width in cells; pose: the network's joints, stride (pixels) and sigmas (of OKS), and settings as
 * by_centers.Settings.
 */
export function people(maps, height, width, pose) {
  const { settings, stride } = pose;
  const found = findCenters(maps, height, width, pose);
  const everyone = found.map(({ score, pose: places, side }) => {
    const person = { cells: [], score: [], center: score };
    places.forEach((place, joint) => {
      const [x, y] = bestCell(maps.heatmaps, height, width, joint, places.length, place,
        settings.reach * side);
      const cell = (y * width + x) * places.length + joint;
      person.cells.push([
        x + clipped(maps.offset[2 * cell], MOST_STEP),
        y + clipped(maps.offset[2 * cell + 1], MOST_STEP),
      ]);
      person.score.push(maps.heatmaps[cell]);
    });
    return person;
  });
  const toPixel = (cell) => stride * cell + (stride - 1) / 2;
  return distinct(everyone, pose).map(({ cells, score, center }) => ({
    xy: cells.map((cell) => cell.map(toPixel)),
    score,
    center,
  }));
}

/** The highest local maxima of the centre map: {score, pose: [[x, y], ...] in cells, side}. */
function findCenters({ center, regress }, height, width, { joints, settings }) {
  const tops = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const score = center[y * width + x];
      if (score > settings.center_threshold && isTop(center, height, width, x, y)) {
        tops.push({ score, x, y });
      }
    }
  }
  tops.sort((a, b) => b.score - a.score); // stable: among equals the first in reading order
  return tops.slice(0, settings.max_people).map(({ score, x, y }) => {
    const pose = joints.map((_, joint) => {
      const at = 2 * ((y * width + x) * joints.length + joint);
      return [x + regress[at], y + regress[at + 1]];
    });
    const side = Math.max(...[0, 1].map((d) => extent(pose.map((place) => place[d]))), 2);
    return { score, pose, side };
  });
}

/** Whether no cell of the window is higher, and none before it in reading order as high. */
function isTop(center, height, width, x, y) {
  const reach = (WINDOW - 1) / 2;
  const score = center[y * width + x];
  for (let v = Math.max(y - reach, 0); v <= Math.min(y + reach, height - 1); v++) {
    for (let u = Math.max(x - reach, 0); u <= Math.min(x + reach, width - 1); u++) {
      const other = center[v * width + u];
      const earlier = v < y || (v === y && u < x);
      if (other > score || (earlier && other === score)) return false;
    }
  }
  return true;
}

/** The cell [x, y] where a joint's map, weighted with a Gaussian about the place, is highest. */
function bestCell(heatmaps, height, width, joint, joints, place, sigma) {
  const across = nearness(width, place[0], sigma);
  const down = nearness(height, place[1], sigma);
  let best = [0, 0];
  let highest = -1;
  for (let y = 0; y < height; y++) {
    let most = -1;
    let column = 0;
    for (let x = 0, at = y * width * joints + joint; x < width; x++, at += joints) {
      const value = across[x] * Math.max(heatmaps[at], FLOOR);
      if (value > most) {
        most = value;
        column = x;
      }
    }
    if (down[y] * most > highest) {
      highest = down[y] * most;
      best = [column, y];
    }
  }
  return best;
}

/** A Gaussian of each cell's distance from a place, 1 at the nearest cell. */
function nearness(count, place, sigma) {
  const squared = Array.from({ length: count }, (_, cell) => ((cell - place) / sigma) ** 2);
  const least = Math.min(...squared);
  return Float64Array.from(squared, (value) => Math.exp(-0.5 * (value - least)));
}

/** The people without those whose joints lie as those of somebody better. */
function distinct(everyone, { sigmas, settings }) {
  const kept = [];
  for (const person of everyone) {
    if (kept.every((other) => alike(person.cells, other.cells, sigmas) <= settings.same)) {
      kept.push(person);
    }
  }
  return kept;
}

/** OKS between two people, with the smaller one's area. */
function alike(first, second, sigmas) {
  const area = (cells) =>
    Math.max(AREA_OF_BOX * extent(cells.map((c) => c[0])) * extent(cells.map((c) => c[1])), 1);
  const scale = 8 * Math.min(area(first), area(second));
  const each = first.map(([x, y], joint) => {
    const apart = (x - second[joint][0]) ** 2 + (y - second[joint][1]) ** 2;
    return Math.exp(-apart / (scale * sigmas[joint] ** 2));
  });
  return each.reduce((sum, value) => sum + value, 0) / each.length;
}

function extent(values) {
  return Math.max(...values) - Math.min(...values);
}

function clipped(value, most) {
  return Math.min(Math.max(value, -most), most);
}
