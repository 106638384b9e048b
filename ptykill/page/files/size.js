// The size of the last terminal in this browser: a new session begins with it.

const KEY = "ptykill-size";

/** Note a size. */
export function noteSize(rows, cols) {
  localStorage.setItem(KEY, JSON.stringify({ rows, cols }));
}

/** Return the last size, or none. */
export function lastSize() {
  try {
    const { rows, cols } = JSON.parse(localStorage.getItem(KEY));
    return Number.isInteger(rows) && Number.isInteger(cols) ? { rows, cols } : {};
  } catch {
    return {};
  }
}
