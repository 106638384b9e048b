// Light or dark: as the system has it, or as the person has chosen.

const KEY = "ptykill-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const watchers = new Set();

const LIGHT = {
  background: "#ffffff", foreground: "#1f2933", cursor: "#1f2933", cursorAccent: "#ffffff",
  selectionBackground: "#b9d7f5", black: "#1f2933", red: "#c22b2f", green: "#1a7f37",
  yellow: "#8a6100", blue: "#0b62c4", magenta: "#8e3fb0", cyan: "#0b7285", white: "#6b7785",
  brightBlack: "#56616d", brightRed: "#d93a3f", brightGreen: "#21913f", brightYellow: "#9a6d00",
  brightBlue: "#1f75d6", brightMagenta: "#a04fc4", brightCyan: "#0f8398", brightWhite: "#3a4652",
};
const DARK = {
  background: "#11161c", foreground: "#dde5ed", cursor: "#dde5ed", cursorAccent: "#11161c",
  selectionBackground: "#2c4a6b", black: "#2a333d", red: "#ff7b72", green: "#5fd183",
  yellow: "#e3b341", blue: "#79b8ff", magenta: "#d2a8ff", cyan: "#66d9e8", white: "#c9d3dd",
  brightBlack: "#8b98a6", brightRed: "#ffa198", brightGreen: "#7ee2a0", brightYellow: "#f2cc60",
  brightBlue: "#a5d1ff", brightMagenta: "#e2c5ff", brightCyan: "#8ce9f5", brightWhite: "#ffffff",
};

/** Apply the person's choice: "light", "dark", or "system". */
export function chooseTheme(choice = localStorage.getItem(KEY) ?? "system") {
  localStorage.setItem(KEY, choice);
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  for (const each of watchers) each(terminalTheme());
}

/** Choose the next one, and return it. */
export function nextTheme() {
  const all = ["system", "light", "dark"];
  const next = all[(all.indexOf(localStorage.getItem(KEY)) + 1) % all.length];
  chooseTheme(next);
  return next;
}

function isDark() {
  const choice = localStorage.getItem(KEY);
  return choice === "dark" || (choice !== "light" && dark.matches);
}

/** Return the colours of a terminal. */
export function terminalTheme() {
  return isDark() ? DARK : LIGHT;
}

/** Call a function with the colours when they change; return a function that ends that. */
export function watchTheme(call) {
  watchers.add(call);
  return () => watchers.delete(call);
}

dark.addEventListener("change", () => {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  for (const each of watchers) each(terminalTheme());
});
