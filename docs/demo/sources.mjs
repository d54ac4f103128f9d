// Where pictures come from: a file or the camera. What goes wrong is an Error of one line that says
// what happened and what to do.

/** A file as {picture} (ImageBitmap) or {video} (a loaded element), by trying. */
export async function opened(file, video) {
  const isVideo = file.type.startsWith("video/");
  const picture = isVideo ? null : await createImageBitmap(file).catch(() => null);
  if (picture) return { picture };
  if (file.type.startsWith("image/")) {
    throw new Error(`${file.name}: this browser can't read the picture; try a JPEG or PNG`);
  }
  release(video);
  video.src = URL.createObjectURL(file);
  await loaded(video, `${file.name}: this browser can't decode it; try a video as MP4 (H.264)`);
  return { video };
}

/** The camera in the element `video`, which plays. */
export async function camera(video) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("No camera here: open the page from disk or from 127.0.0.1, or choose a file");
  }
  release(video);
  const wanted = { video: { facingMode: "user", width: { ideal: 640 } }, audio: false };
  const stream = await navigator.mediaDevices.getUserMedia(wanted).catch((error) => {
    throw new Error(refusal(error.name));
  });
  video.srcObject = stream;
  await loaded(video, "The camera gives no pictures; choose a file instead");
  return { video, stream };
}

/** What a refusal of getUserMedia means, by its name. */
export function refusal(name) {
  if (name === "NotAllowedError" || name === "SecurityError") {
    return "The camera was refused: allow it for this page, or choose a file";
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") {
    return "No camera was found: plug one in, or choose a file";
  }
  if (name === "NotReadableError" || name === "AbortError") {
    return "The camera can't be read: another program may use it";
  }
  return `The camera can't be opened (${name}); choose a file`;
}

/** Lets go of what a video element holds: the camera's light goes out. */
export function release(video) {
  video.pause();
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
}

/** Waits until an element shows its first frame. Throws an Error with `message`. */
async function loaded(video, message) {
  await new Promise((done, failed) => {
    const options = { once: true };
    video.addEventListener("loadeddata", done, options);
    video.addEventListener("error", () => failed(new Error(message)), options);
  });
  if (!video.videoWidth) throw new Error(message); // sound alone
}

/** The next frame of a playing video: its time in seconds; null once `over` says so. */
export function nextFrame(video, over) {
  return new Promise((done) => {
    const waiting = setInterval(() => over() && end(null), 100);
    const end = (time) => {
      clearInterval(waiting);
      done(over() ? null : time);
    };
    if (video.requestVideoFrameCallback) {
      video.requestVideoFrameCallback((_, { mediaTime }) => end(mediaTime));
    } else {
      requestAnimationFrame(() => end(video.currentTime));
    }
  });
}
