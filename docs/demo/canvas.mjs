// The network's square canvas: a picture fitted in whole and centred, the rest grey, and the way
// back to the picture. As bodyjax.data.affine.fit: (0, 0) is the centre of the first pixel.

/** The map of a picture of this size to a canvas: canvas = scale * picture + (x, y). */
export function fit(width, height, side) {
  const scale = Math.min(side / width, side / height);
  return {
    scale,
    x: (side - 1) / 2 - (scale * (width - 1)) / 2,
    y: (side - 1) / 2 - (scale * (height - 1)) / 2,
  };
}

/** Canvas pixels as pixels of the picture: [x, y]. */
export function toPicture(map, x, y) {
  return [(x - map.x) / map.scale, (y - map.y) / map.scale];
}

/** Draws a picture (image, video, canvas) of this size on the canvas of a 2D context. */
export function drawFitted(context, source, width, height, side, fill) {
  const { scale } = fit(width, height, side);
  context.fillStyle = `rgb(${fill} ${fill} ${fill})`;
  context.fillRect(0, 0, side, side);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "medium"; // averages, so that no detail is skipped
  const across = width * scale;
  const down = height * scale;
  context.drawImage(source, (side - across) / 2, (side - down) / 2, across, down);
}

/** RGB 0..255 of a canvas as the network takes it, from RGBA; `out` holds side * side * 3. */
export function rgb(rgba, out) {
  for (let from = 0, to = 0; to < out.length; from += 4, to += 3) {
    out[to] = rgba[from];
    out[to + 1] = rgba[from + 1];
    out[to + 2] = rgba[from + 2];
  }
  return out;
}
