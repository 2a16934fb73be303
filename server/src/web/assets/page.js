// What the page does beyond forms and links. Without it everything works; with it nothing has to be loaded again.
"use strict";
(() => {
  const { base, csrf } = document.body.dataset;
  const say = (text) => { document.getElementById("live").textContent = text; };

  // A form that deletes something asks first.
  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.ask ?? event.target.dataset.ask;
    if (question && !window.confirm(question)) event.preventDefault();
  });
})();
