"use strict";
// Frames of HTML get the height of what they hold. Nothing in them can run: they are sandboxed.
for (const frame of document.querySelectorAll("iframe")) {
  const fit = () => {
    const height = frame.contentDocument?.documentElement.offsetHeight;
    if (height) frame.style.height = Math.min(height + 24, 800) + "px";
  };
  frame.addEventListener("load", fit);
  fit();
}
addEventListener("keydown", (event) => {
  if ((event.key !== "j" && event.key !== "k") || event.ctrlKey || event.metaKey || event.altKey) return;
  const cells = [...document.querySelectorAll("section")];
  const at = cells.indexOf(document.activeElement?.closest("section"));
  const to = cells[event.key === "j" ? at + 1 : Math.max(at - 1, 0)];
  to?.focus();
});
