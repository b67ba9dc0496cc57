// Keeps a page of ours right: asks for its status, counts up what is under way and down what comes into effect, reloads
// when something has changed.
"use strict";

const page = document.querySelector("[data-status]");
const IDLE_MS = 5000;
const BUSY_MS = 1000;

function countUp() {
  for (const place of document.querySelectorAll("[data-elapsed]")) {
    const seconds = Number(place.dataset.elapsed) + 1;
    place.dataset.elapsed = String(seconds);
    place.textContent = String(seconds);
  }
}

function countDown(place) {
  const end = performance.now() + Number(place.dataset.countdown) * 1000;
  const until = place.querySelector("[data-until]");
  const timer = window.setInterval(() => {
    const left = Math.ceil((end - performance.now()) / 1000);
    if (left > 0) {
      place.querySelector("[data-left]").textContent = String(left);
      return;
    }
    window.clearInterval(timer);
    until.hidden = true;
    place.querySelector("[data-then]").hidden = false;
  }, 200);
}

async function ask() {
  let wait = page.dataset.busy === "1" ? BUSY_MS : IDLE_MS;
  if (document.visibilityState === "visible") {
    try {
      const answer = await fetch(page.dataset.status, { headers: { Accept: "application/json" }, redirect: "error" });
      const status = await answer.json();
      if (answer.ok && status.token !== page.dataset.token) {
        window.location.reload();
        return;
      }
      wait = status.busy ? BUSY_MS : IDLE_MS;
    } catch {
      wait = IDLE_MS; // the server is away or the session has ended: what is shown stays, and is asked for again
    }
  }
  window.setTimeout(ask, wait);
}

if (page !== null) {
  window.setInterval(countUp, 1000);
  window.setTimeout(ask, page.dataset.busy === "1" ? BUSY_MS : IDLE_MS);
}

for (const place of document.querySelectorAll("[data-countdown]")) {
  countDown(place);
}
