# %% Rich output
from IPython.display import HTML, Latex, Markdown, display

display(Markdown("## Loss\n\n- train $L = \\sum_i (y_i - \\hat y_i)^2$\n- **eval** `0.5`"))
display(Latex(r"$$\frac{\partial L}{\partial w} = 0$$"))
display(
    {
        "text/plain": "Figure({'data': …})",
        "application/vnd.plotly.v1+json": {
            "data": [{"type": "scatter", "y": [3, 1, 2], "name": "a"}],
            "layout": {"title": {"text": "A figure of plotly"}, "height": 260},
        },
    },
    raw=True,
)
display(
    {
        "text/plain": "alt.Chart(…)",
        "application/vnd.vegalite.v5+json": {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "title": "A chart of Altair",
            "data": {"values": [{"a": "A", "b": 28}, {"a": "B", "b": 55}]},
            "mark": "bar",
            "encoding": {"x": {"field": "a", "type": "nominal"}, "y": {"field": "b", "type": "quantitative"}},
        },
    },
    raw=True,
)
display(
    HTML("""
<div id="app">not drawn</div>
<script src="https://cdn.example.org/lib.js"></script>
<script>
  const app = document.getElementById("app");
  app.textContent = "drawn by a script";
  try { parent.document.title = "taken"; app.textContent += ", which reaches the page"; } catch {}
  fetch("https://example.org").catch(() => { app.textContent += ", without a network"; });
</script>
""")
)
display({"application/x-unknown": "?"}, raw=True)
