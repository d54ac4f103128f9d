// The two networks: pixels to people, and a clip of joints to the probability of "standard".
// model.json (tools/demo_models.py) says what they take and give.

import { rgb } from "./canvas.mjs";
import { people } from "./decode.mjs";

const OPTIONS = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };

/** find(rgba of the canvas) -> people, as decode.mjs gives them; `pose` is model.json's. */
export async function detector(ort, model, pose) {
  const session = await ort.InferenceSession.create(model, OPTIONS);
  const side = pose.canvas;
  const cells = side / pose.stride;
  const pixels = new Float32Array(side * side * 3);
  return async (rgba) => {
    rgb(rgba, pixels);
    const input = new ort.Tensor("float32", pixels, [1, side, side, 3]);
    const found = await session.run({ pixels: input });
    const maps = Object.fromEntries(Object.entries(found).map(([name, map]) => [name, map.data]));
    return people(maps, cells, cells, pose);
  };
}

/** judge(clip of clips.mjs, [width, height]) -> {probability, attention}; probability of the good
 * label, attention the share of each step that the model sees. `spec` is model.json's scorer. */
export async function judge(ort, model, spec) {
  const session = await ort.InferenceSession.create(model, OPTIONS);
  const [steps, joints] = [spec.stored, spec.joints.length];
  return async (clip, size) => {
    const found = await session.run({
      joints: new ort.Tensor("float32", clip.joints, [1, steps, joints, 2]),
      visible: new ort.Tensor("uint8", clip.visible, [1, steps, joints]),
      score: new ort.Tensor("float32", clip.score, [1, steps, joints]),
      length: new ort.Tensor("int32", Int32Array.of(steps), [1]),
      size: new ort.Tensor("float32", Float32Array.from(size), [1, 2]),
    });
    return {
      probability: found.probability.data[spec.good],
      attention: Array.from(found.attention.data),
    };
  };
}
