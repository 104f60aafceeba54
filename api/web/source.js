// Asks the server again and again, and says how that went. The key is kept for this tab only and never stands in an address.

export const ROOT = new URL("..", import.meta.url);
const EVERY_MS = 2_000;
const AT_MOST_MS = 30_000;
const PATIENCE_MS = 10_000;
const KEY = "goldsmith-key";

let kept = ""; // where the browser forbids a page to keep anything

export const key = {
  get() {
    try {
      return sessionStorage.getItem(KEY) ?? kept;
    } catch {
      return kept;
    }
  },
  set(value) {
    kept = value;
    try {
      if (value) sessionStorage.setItem(KEY, value);
      else sessionStorage.removeItem(KEY);
    } catch {
      // `kept` has it until the page is left
    }
  },
};

/** One request of the API: {status, body, headers}; throws when no answer comes. */
export async function ask(path, { method = "GET", json, headers = {} } = {}) {
  const sent = { Accept: "application/json", ...headers };
  if (key.get()) sent.Authorization = `Bearer ${key.get()}`;
  if (json !== undefined) sent["Content-Type"] = "application/json";
  const answer = await fetch(new URL(path, ROOT), {
    method,
    headers: sent,
    body: json === undefined ? undefined : JSON.stringify(json),
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const told = answer.status !== 304 && /json/.test(answer.headers.get("content-type") ?? "");
  return { status: answer.status, headers: answer.headers, body: told ? await answer.json() : null };
}

/** The words of a refusal. */
export const refusal = ({ status, body }) => body?.detail ?? `The server answered ${status}.`;

/**
 * Keep asking for `path`: every two seconds, more rarely while it fails, not at all while nobody looks or a key is missing.
 * `show(body)` is called for what is new; `say(state, words, last)` after every answer, state one of ok, key, refused, away. Returns a function that asks at once.
 */
export function follow(path, show, say) {
  let tag = null;
  let failures = 0;
  let timer = null;
  let running = false;
  let last = null;

  async function once() {
    clearTimeout(timer);
    if (running) return;
    running = true;
    let wait = EVERY_MS;
    try {
      wait = heard(await ask(path, { headers: tag ? { "If-None-Match": tag } : {} }).catch(away));
    } finally {
      running = false;
      if (wait !== null && !document.hidden) timer = setTimeout(once, wait);
    }
  }

  /** How long to wait until the next request; null: until a key is given. */
  function heard(answer) {
    const { status, body, headers } = answer;
    if (status === 304 || (status === 200 && body !== null)) {
      failures = 0;
      if (status === 200) {
        try {
          show(body);
        } catch (problem) {
          say("refused", "This page cannot show what the server said. Load it again; if that does not help, its files and the server's version differ.", last);
          throw problem;
        }
        tag = headers.get("etag");
      }
      last = new Date();
      say("ok", "");
      return EVERY_MS;
    }
    if (status === 401) {
      say("key", key.get() ? `That key was refused: ${refusal(answer)}` : "This server wants an API key.", last);
      return null;
    }
    failures += 1;
    say(status === 0 || status >= 500 ? "away" : "refused", refusal(answer), last);
    const asked = 1000 * Number(headers?.get("retry-after") ?? 0) || 0;
    return Math.max(asked, Math.min(AT_MOST_MS, EVERY_MS * 2 ** (failures - 1)));
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : once()));
  once();
  return once;
}

/** What `ask` throws when the network or the server is away, or when the answer is no JSON, as an answer. */
function away(error) {
  const unreadable = error instanceof SyntaxError;
  if (!unreadable && !(error instanceof TypeError) && !(error instanceof DOMException)) throw error;
  return { status: 0, body: { detail: unreadable ? "The server's answer could not be read." : "The server does not answer." } };
}

/** The parts of a page that ask for a key and say how old the numbers are; returns `say` for `follow`. */
export function connection(again) {
  const form = document.getElementById("key-form");
  const input = document.getElementById("key");
  const line = document.getElementById("connection");
  const forget = document.getElementById("forget");

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    key.set(input.value.trim());
    input.value = "";
    again();
  });
  forget.addEventListener("click", () => {
    key.set("");
    location.reload();
  });

  return (state, words, last = null) => {
    const asks = state === "key" && form.hidden;
    form.hidden = state !== "key";
    forget.hidden = !key.get() || state === "key";
    document.body.dataset.state = state;
    const old = last && state !== "ok" ? ` What stands here is of ${last.toLocaleTimeString("en-GB")}.` : "";
    const text = words + old + (state === "away" || (state === "refused" && last) ? " Trying again." : "");
    if (line.textContent !== text) line.textContent = text;
    if (asks) input.focus();
  };
}
