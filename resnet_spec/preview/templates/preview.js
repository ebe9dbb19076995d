"use strict";
const buttons = [...document.querySelectorAll("nav button")];
const articles = [...document.querySelectorAll("article")];
const connection = document.querySelector(".connection");

function show(place) {
  buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === place)));
  articles.forEach((article, index) => { article.hidden = index !== place; });
}

buttons.forEach((button, index) => button.addEventListener("click", () => show(index)));

// The version of each file that the page shows.
let seen = document.querySelector("nav").dataset.seen;

function update(event) {
  seen = event.lastEventId;
  const change = JSON.parse(event.data);
  const article = articles[change.place];
  const opened = [...article.querySelectorAll("details")].map((details) => details.open);
  const scrolled = [...article.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  article.innerHTML = change.html;
  article.querySelectorAll("details").forEach((details, index) => { details.open = opened[index] ?? details.open; });
  article.querySelectorAll(".scroll").forEach((element, index) => { element.scrollLeft = scrolled[index] ?? 0; });
  buttons[change.place].classList.toggle("broken", change.broken);
  buttons[change.place].querySelector(".mark").textContent = change.broken ? "✗" : "✓";
}

// Browsers open six connections to a server at most, so that only pages that are seen keep one.
let changes = null;
function follow() {
  changes?.close();
  if (document.hidden) return;
  // The browser connects again by itself, and then names the last event.
  changes = new EventSource(`/changes?${seen}`);
  changes.onopen = () => { connection.hidden = true; };
  changes.onerror = () => { connection.hidden = false; };
  changes.onmessage = update;
}

document.addEventListener("visibilitychange", follow);
follow();
