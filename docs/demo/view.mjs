// What the page says: status, figures, the strip of attention, and the joints as tables.

import { drawStrip } from "./drawing.mjs";

const part = (id) => document.getElementById(id);

/** One line for the reader, announced by screen readers; `wrong` marks that something failed. */
export function say(text, wrong = false) {
  part("status").textContent = text;
  part("status").classList.toggle("wrong", wrong);
}

/** Names what the scorer judges, before anything is seen. */
export function introduce(scorer) {
  part("good").textContent = capital(scorer.labels[scorer.good]);
  part("strip-seconds").textContent = `last ${scorer.seconds} seconds`;
}

/** Which controls work: `ready` to choose a source, `running` to stop one. */
export function enable(ready, running) {
  for (const id of ["file", "camera"]) part(id).disabled = !ready;
  part("stop").disabled = !running;
}

/** Repetitions; told only when the number changes, so that it is read once. How many of them have a
 * verdict stands beside it. */
export function showCount({ every, judged }) {
  if (part("count").textContent !== String(every)) part("count").textContent = every;
  part("judged").textContent = every ? `${judged} with a verdict` : "";
}

export function showRate(rate) {
  part("rate").textContent = rate ? rate.toFixed(rate < 10 ? 1 : 0) : "–";
}

/** The verdict on the last seconds: {probability, attention, times, now, seconds}, or why there is
 * none. */
export function showVerdict(verdict, reason = "") {
  part("probability").textContent = verdict ? `${Math.round(100 * verdict.probability)} %` : "–";
  part("reason").textContent = reason ? `No verdict: ${reason}` : "";
  const strip = part("strip");
  if (!verdict) {
    strip.getContext("2d").clearRect(0, 0, strip.width, strip.height);
    strip.setAttribute("aria-label", "No verdict yet");
    return;
  }
  const { attention, times, now, seconds } = verdict;
  drawStrip(strip, times, attention, now, seconds);
  const most = attention.indexOf(Math.max(...attention));
  strip.setAttribute("aria-label", `Most attention ${(now - times[most]).toFixed(1)} seconds ago`);
}

/** What the picture shows, in words. */
export function describeView(people, size) {
  const found = people === 1 ? "1 person" : `${people || "no"} people`;
  part("view").setAttribute("aria-label", `${size[0]} × ${size[1]} pixels, ${found}`);
}

/** The joints of people, in pixels of the picture, a table each. */
export function showJoints(people, joints) {
  part("tables").replaceChildren(...people.map((person, number) => {
    const table = document.createElement("table");
    table.createCaption().textContent = `Person ${number + 1}`;
    const head = table.createTHead().insertRow();
    for (const word of ["joint", "x", "y", "score"]) cell(head, "th", word, "col");
    const body = table.createTBody();
    joints.forEach((name, j) => {
      const row = body.insertRow();
      cell(row, "th", name.replace("_", " "), "row");
      for (const value of person.xy[j]) cell(row, "td", value.toFixed(1));
      cell(row, "td", person.score[j].toFixed(2));
    });
    return table;
  }));
}

function cell(row, kind, text, scope) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (scope) made.scope = scope;
  row.append(made);
}

function capital(word) {
  return word[0].toUpperCase() + word.slice(1);
}
