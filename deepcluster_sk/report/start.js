// ---- Light and dark: the system's choice, until the button is used ----

function startTheme() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)"), button = byId("theme");
  let chosen = false;
  const apply = (isDark) => {
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(isDark));
    drawMap();
  };
  const isDark = () => document.documentElement.dataset.theme === "dark";
  button.addEventListener("click", () => { chosen = true; apply(!isDark()); });
  dark.addEventListener("change", () => { if (!chosen) apply(dark.matches); });
  let before = null;
  window.addEventListener("beforeprint", () => {
    before = isDark();
    apply(false);
  });
  window.addEventListener("afterprint", () => apply(before));
  apply(dark.matches);
}

drawOverview();
drawClusters();
drawPairs();
drawTraining();
drawSettings();
startMap();
startTheme();
document.documentElement.dataset.ready = "true";
