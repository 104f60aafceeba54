// The dialog that asks why, and says what came of it.

import { byId } from "./parts.js";
import { ask, refusal } from "./source.js";

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
    try {
      const answer = await ask(`${path}/rollback`, { method: "POST", json: { reason: reason.value.trim() } });
      if (answer.status === 200) {
        dialog.close();
        reason.value = "";
        byId("result").textContent = "Rolled back: every unit gets base.";
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
