// The dialog that asks why, and says what came of it.

import { byId } from "./parts.js";
import { ask, refusal } from "./source.js";

/** What to say where somebody else, or the guard, was faster: a second rollback changes nothing and keeps no reason. */
async function earlier(path, why) {
  const { body } = await ask(`${path}/report`).catch(() => ({ body: null })); // it is rolled back, whether or not this is known
  const made = body?.decisions?.find(({ decision }) => decision === "rollback");
  return !made || made.reason === why ? "" : ` It already was, by ${made.actor}: “${made.reason}” Your own reason was not needed and is not kept.`;
}

export function rollback(path, name, again) {
  const dialog = byId("rollback");
  const reason = byId("reason");
  const error = byId("rollback-error");
  const confirm = byId("confirm");
  let sending = false;

  byId("open-rollback").addEventListener("click", () => {
    byId("rollback-title").textContent = `Roll back ${name()}?`;
    error.textContent = "";
    dialog.showModal();
    reason.focus();
  });
  byId("cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("cancel", (event) => {
    if (sending) event.preventDefault(); // what was sent is answered before the dialog goes
  });

  byId("rollback-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (sending) return;
    if (!reason.value.trim()) {
      error.textContent = "Say why: the reason is kept with the decision.";
      reason.focus();
      return;
    }
    sending = true;
    error.textContent = "Rolling back …";
    confirm.setAttribute("aria-disabled", "true");
    const why = reason.value.trim();
    try {
      const answer = await ask(`${path}/rollback`, { method: "POST", json: { reason: why } });
      if (answer.status === 200) {
        const first = await earlier(path, why);
        dialog.close();
        reason.value = "";
        byId("result").textContent = `Rolled back: every unit gets base.${first}`;
        byId("result").focus(); // the button that had the focus goes away
        again();
      } else {
        error.textContent = `Not rolled back. ${refusal(answer)}`;
        reason.focus();
      }
    } catch (problem) {
      error.textContent = "Nobody knows whether it was rolled back: the server did not answer. Try again, or see the status.";
      reason.focus();
      if (!(problem instanceof TypeError || problem instanceof DOMException || problem instanceof SyntaxError)) throw problem;
    } finally {
      sending = false;
      confirm.removeAttribute("aria-disabled");
    }
  });
}
