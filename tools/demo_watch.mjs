// The page's modules in plain node, on clips whose canvases Python has made: what the page would
// say of them. node tools/demo_watch.mjs PAGE RUNTIME CLIPS.json: the built page, onnxruntime-web's
// dist, and a list of {pixels, frames, times, size}; pixels names a file of RGBA canvases, one after
// the other. Prints a list of {count, repetitions, probability, reason, frames, seen, milliseconds}.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [page, runtime, list] = process.argv.slice(2).map((path) => pathToFileURL(path).href);
const ort = await import(`${runtime}/ort.node.min.mjs`);
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const load = (name) => import(`${page}/${name}.mjs`);
const read = (name) => readFileSync(new URL(`${page}/${name}`));
const [{ detector, judge }, { step, verdict }, { nobody }, { fit, toPicture }, { repetitions }] =
  await Promise.all(["networks", "watching", "person", "canvas", "repetitions"].map(load));

const spec = JSON.parse(read("model.json"));
const { pose } = spec;
const find = await detector(ort, read(pose.file), pose);
const ask = await judge(ort, read(spec.scorer.file), spec.scorer);

const found = [];
for (const clip of JSON.parse(readFileSync(new URL(list)))) found.push(await watched(clip));
process.stdout.write(JSON.stringify(found));

/** As app.mjs watches a video. */
async function watched({ pixels, times, size }) {
  const all = nobody();
  const bytes = readFileSync(pixels);
  const each = pose.canvas * pose.canvas * 4;
  const map = fit(...size, pose.canvas);
  let [judged, said, seen] = [-Infinity, null, 0];
  const start = process.cpuUsage();
  for (const [frame, time] of times.entries()) {
    const people = (await find(bytes.subarray(frame * each, (frame + 1) * each))).map((person) => ({
      ...person, xy: person.xy.map(([x, y]) => toPicture(map, x, y)),
    }));
    seen += step(all, time, people, pose) !== null;
    if (time - judged < 0.5) continue;
    judged = time;
    said = await verdict(all, size, { spec, ask });
  }
  const used = process.cpuUsage(start);
  said = await verdict(all, size, { spec, ask });
  return {
    count: said.count.judged,
    repetitions: repetitions(all.times, all.frames, pose.joints).length,
    probability: said.told?.probability ?? null,
    reason: said.reason,
    frames: times.length,
    seen,
    milliseconds: (used.user + used.system) / 1000 / times.length,
  };
}
