// Numbers in a row: what repetitions.mjs and score.mjs need of NumPy and SciPy. Plain arrays.

export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The value below which this share of the values lies, linear between neighbours. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  const next = sorted[Math.min(low + 1, sorted.length - 1)];
  return sorted[low] + (place - low) * (next - sorted[low]);
}

export function median(values) {
  return quantile(values, 0.5);
}

/** `count` values from first to last, evenly apart. */
export function evenly(first, last, count) {
  if (count === 1) return [first];
  const step = (last - first) / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? last : first + i * step));
}

/** The value at each place on the straight lines through (known, values); `known` rises. */
export function interpolated(places, known, values) {
  return places.map((place) => {
    if (place <= known[0]) return values[0];
    const last = known.length - 1;
    if (place >= known[last]) return values[last];
    let [low, high] = [0, last];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (known[middle] <= place) low = middle;
      else high = middle;
    }
    const part = (place - known[low]) / (known[high] - known[low]);
    return values[low] + part * (values[high] - values[low]);
  });
}

/** The values without their straight line of least squares. */
export function detrended(values) {
  const middle = (values.length - 1) / 2;
  const level = mean(values);
  let product = 0;
  let square = 0;
  values.forEach((value, i) => {
    product += (i - middle) * value;
    square += (i - middle) ** 2;
  });
  const slope = square > 0 ? product / square : 0;
  return values.map((value, i) => value - level - slope * (i - middle));
}

/** The values smoothed by parabolas over `window` of them (odd): Savitzky and Golay; the first and
 * last half window lie on the parabola of the first and last window. */
export function smoothed(values, window) {
  const half = (window - 1) / 2;
  const scale = (2 * half - 1) * (2 * half + 1) * (2 * half + 3);
  const weights = Array.from({ length: window }, (_, i) => {
    const k = i - half;
    return (3 * (3 * half * half + 3 * half - 1 - 5 * k * k)) / scale;
  });
  return values.map((_, i) => {
    const first = Math.min(Math.max(i - half, 0), values.length - window);
    if (first === i - half) {
      return weights.reduce((sum, weight, k) => sum + weight * values[first + k], 0);
    }
    return parabola(values.slice(first, first + window), i - first - half);
  });
}

/** The parabola of least squares through values at -half..half, at the place k. */
function parabola(values, k) {
  const half = (values.length - 1) / 2;
  const meanSquare = (half * (half + 1)) / 3;
  let [level, slope, curve, squares, fourths] = [mean(values), 0, 0, 0, 0];
  values.forEach((value, i) => {
    const place = i - half;
    slope += place * value;
    squares += place * place;
    curve += (place * place - meanSquare) * value;
    fourths += (place * place - meanSquare) ** 2;
  });
  return level + (slope / squares) * k + (curve / fourths) * (k * k - meanSquare);
}

/** The line along which rows of numbers vary most, of length 1: the first principal component, by
 * Jacobi's rotations of their products. */
export function mainLine(rows) {
  const size = rows[0].length;
  const products = Array.from({ length: size }, () => new Float64Array(size));
  for (const row of rows) {
    for (let a = 0; a < size; a++) {
      for (let b = 0; b < size; b++) products[a][b] += row[a] * row[b];
    }
  }
  const turned = Array.from({ length: size }, (_, a) =>
    Float64Array.from({ length: size }, (_, b) => Number(a === b)));
  for (let round = 0; round < 30; round++) {
    if (!rotateAll(products, turned)) break;
  }
  let best = 0;
  for (let a = 1; a < size; a++) if (products[a][a] > products[best][best]) best = a;
  return turned.map((row) => row[best]);
}

/** One round of rotations, in place; whether anything was left to rotate. */
function rotateAll(products, turned) {
  const size = products.length;
  let any = false;
  for (let p = 0; p < size; p++) {
    for (let q = p + 1; q < size; q++) {
      const off = products[p][q];
      if (Math.abs(off) <= 1e-14 * Math.sqrt(products[p][p] * products[q][q]) || off === 0) continue;
      any = true;
      const ratio = (products[q][q] - products[p][p]) / (2 * off);
      const tangent = (ratio >= 0 ? 1 : -1) / (Math.abs(ratio) + Math.sqrt(ratio * ratio + 1));
      const cosine = 1 / Math.sqrt(tangent * tangent + 1);
      const sine = tangent * cosine;
      for (let k = 0; k < size; k++) {
        [products[k][p], products[k][q]] = [
          cosine * products[k][p] - sine * products[k][q],
          sine * products[k][p] + cosine * products[k][q],
        ];
      }
      for (let k = 0; k < size; k++) {
        [products[p][k], products[q][k]] = [
          cosine * products[p][k] - sine * products[q][k],
          sine * products[p][k] + cosine * products[q][k],
        ];
        [turned[k][p], turned[k][q]] = [
          cosine * turned[k][p] - sine * turned[k][q],
          sine * turned[k][p] + cosine * turned[k][q],
        ];
      }
    }
  }
  return any;
}

/** Places of hills, rising: tops at least `apart` from each other (the higher one stays), standing
 * out by `prominence`. As scipy.signal.find_peaks. */
export function hills(line, { apart = 1, prominence = 0 } = {}) {
  const kept = farApart(tops(line), line, Math.ceil(apart));
  return kept.filter((top) => standsOut(line, top) >= prominence);
}

/** Places that are higher than both sides; the middle of a level top. */
function tops(line) {
  const found = [];
  for (let i = 1; i < line.length - 1; i++) {
    if (line[i - 1] >= line[i]) continue;
    let end = i;
    while (end < line.length - 1 && line[end + 1] === line[i]) end++;
    if (end < line.length - 1 && line[end + 1] < line[i]) found.push((i + end) >> 1);
    i = end;
  }
  return found;
}

function farApart(places, line, least) {
  const kept = places.map(() => true);
  const order = places.map((_, i) => i).sort((a, b) => line[places[a]] - line[places[b]]);
  for (const i of order.reverse()) {
    if (!kept[i]) continue;
    for (let k = i - 1; k >= 0 && places[i] - places[k] < least; k--) kept[k] = false;
    for (let k = i + 1; k < places.length && places[k] - places[i] < least; k++) kept[k] = false;
  }
  return places.filter((_, i) => kept[i]);
}

/** How far a top stands above the higher of the lowest points beside it. */
function standsOut(line, top) {
  const lowest = (step) => {
    let low = line[top];
    for (let i = top; i >= 0 && i < line.length && line[i] <= line[top]; i += step) {
      low = Math.min(low, line[i]);
    }
    return low;
  };
  return line[top] - Math.max(lowest(-1), lowest(1));
}

/** To the nearest whole number; halves to the even one, as Python rounds. */
export function roundEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}
