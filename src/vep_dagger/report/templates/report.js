(() => {
  "use strict";

  const data = document.getElementById("plot-data");
  if (data) {
    const { plots, dark, config } = JSON.parse(data.textContent);
    const wantsDark = matchMedia("(prefers-color-scheme: dark)");
    const family = getComputedStyle(document.body).fontFamily;
    const paint = (value) => {
      if (typeof value === "string") return value === "inherit" ? family : wantsDark.matches ? dark[value] ?? value : value;
      if (Array.isArray(value)) return value.map(paint);
      if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, paint(v)]));
      return value;
    };
    const draw = () => {
      for (const [id, figure] of Object.entries(plots)) {
        const { data, layout } = paint(figure);
        Plotly.react(id, data, layout, config);
      }
    };
    draw();
    wantsDark.addEventListener("change", draw);
    // A plot follows its box, whatever changes it: the window, a printer's page, a phone that is turned.
    const fit = new ResizeObserver((boxes) => boxes.forEach(({ target }) => Plotly.Plots.resize(target)));
    for (const id of Object.keys(plots)) fit.observe(document.getElementById(id));
  }

  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        // Some browsers give pages from files no clipboard: the text is selected, and the keyboard does the rest.
        getSelection().selectAllChildren(text);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }

  const reveal = () => {
    const target = location.hash.startsWith("#cell-") && document.getElementById(location.hash.slice(1));
    if (target) {
      target.parentElement.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
