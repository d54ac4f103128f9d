// What is drawn: people on the picture, and the strip of attention. Lines have a dark rim, so that
// they show on any picture.

const COLOURS = { left: "#ffb000", right: "#4fc3ff", middle: "#ffffff" };
const SHOWN = 0.15; // least score of a joint that is drawn
const [SMALLEST, LARGEST] = [640, 1280]; // pixels of the drawn picture's longer side

/** Size in pixels at which a picture is drawn: as it is, or scaled so that lines are fine on a small
 * one and a large one costs no time. */
export function shownSize(width, height) {
  const longer = Math.max(width, height);
  const scale = Math.min(Math.max(longer, SMALLEST), LARGEST) / longer;
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

/** Draws people, in pixels of a picture of this width, on a context; the followed one in full
 * colour. */
export function drawPeople(context, people, followed, pose, width) {
  const scale = context.canvas.width / width;
  const thick = Math.max(2, Math.max(context.canvas.width, context.canvas.height) / 200);
  for (const person of people) {
    context.globalAlpha = !followed || person === followed ? 1 : 0.45;
    const place = (j) => person.xy[j].map((value) => value * scale);
    for (const limb of pose.limbs) {
      if (limb.some((j) => person.score[j] < SHOWN)) continue;
      const [from, to] = limb.map(place);
      const path = new Path2D();
      path.moveTo(...from);
      path.lineTo(...to);
      rimmed(context, path, thick, colour(limb.map((j) => pose.joints[j])));
    }
    person.score.forEach((score, j) => {
      if (score < SHOWN) return;
      const dot = new Path2D();
      dot.arc(...place(j), thick, 0, 2 * Math.PI);
      context.fillStyle = colour([pose.joints[j]]);
      context.fill(dot);
    });
  }
  context.globalAlpha = 1;
}

function rimmed(context, path, thick, style) {
  context.lineCap = "round";
  for (const [width, ink] of [[2 * thick, "#000000"], [thick, style]]) {
    context.lineWidth = width;
    context.strokeStyle = ink;
    context.stroke(path);
  }
}

/** Left, right, or between: sides are told apart by more than their place. */
function colour(joints) {
  const side = ["left", "right"].find((word) => joints.every((name) => name.startsWith(word)));
  return COLOURS[side ?? "middle"];
}

/** Draws the attention of the last `seconds` as bars, the latest at the right. */
export function drawStrip(canvas, times, weights, now, seconds) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const highest = Math.max(...weights, 1e-6);
  const apart = (times.at(-1) - times[0]) / Math.max(times.length - 1, 1);
  const bar = Math.max(1, (width * 0.8 * apart) / seconds);
  context.fillStyle = getComputedStyle(canvas).color;
  weights.forEach((weight, i) => {
    const x = width * (1 - (now - times[i]) / seconds);
    const up = Math.max(1, (weight / highest) * height);
    context.fillRect(x - bar / 2, height - up, bar, up);
  });
}
