// What the page loads: models and runtime, beside it in a folder, or as base64 inside it where it
// is one file (tools/demo_single.py).

const RUNTIME = "ort.wasm.bundle.min.mjs";
const WASM = "ort-wasm-simd-threaded.wasm";

/** The bytes of a file of the page. Throws an Error of one line. */
export async function bytes(name) {
  const inside = document.getElementById(name);
  if (inside) return fromBase64(inside.textContent);
  const answer = await fetch(name).catch(() => null);
  if (!answer || !answer.ok) throw new Error(`${name} can't be loaded: run make demo again`);
  return new Uint8Array(await answer.arrayBuffer());
}

export async function json(name) {
  return JSON.parse(new TextDecoder().decode(await bytes(name)));
}

/** onnxruntime-web, with as many threads as the browser allows this page. */
export async function runtime() {
  if (!document.getElementById(WASM)) {
    const ort = await import(`./${RUNTIME}`);
    ort.env.wasm.numThreads = globalThis.crossOriginIsolated
      ? Math.min(4, navigator.hardwareConcurrency || 1) : 1; // only isolated pages share memory
    return ort;
  }
  const script = new Blob([await bytes(RUNTIME)], { type: "text/javascript" });
  const ort = await import(URL.createObjectURL(script));
  ort.env.wasm.numThreads = 1; // threads would load the script from an address
  ort.env.wasm.wasmBinary = await bytes(WASM);
  return ort;
}

function fromBase64(text) {
  const binary = atob(text.trim());
  const found = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) found[i] = binary.charCodeAt(i);
  return found;
}
