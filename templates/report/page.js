// Draws a task's plots when it is chosen, in the colours of the ground that the reader has or picks.
(() => {
  "use strict"
  const dark = JSON.parse(document.getElementById("dark").textContent)
  const system = matchMedia("(prefers-color-scheme: dark)")
  const tasks = [...document.querySelectorAll("article")].map(article => article.dataset.task)
  let chosen = tasks.includes(decodeURIComponent(location.hash.slice(1))) ? decodeURIComponent(location.hash.slice(1))
                                                                          : tasks[0]
  let picked = null
  let views = []

  const of = (selector, task) => [...document.querySelectorAll(selector)].find(one => one.dataset.task === task)

  function isDark() {
    return picked === null ? system.matches : picked
  }

  function coloured(text) {
    if (!isDark()) return text
    for (const [light, other] of Object.entries(dark)) text = text.replaceAll(`"${light}"`, `"${other}"`)
    return text
  }

  async function draw() {
    const theme = isDark() ? "dark" : "light"
    document.documentElement.dataset.theme = theme
    document.documentElement.style.colorScheme = theme
    delete document.documentElement.dataset.drawn
    for (const icon of document.querySelectorAll(".legend i")) icon.style.background =
      isDark() && dark[icon.dataset.shade] || icon.dataset.shade
    for (const article of document.querySelectorAll("article")) article.hidden = article.dataset.task !== chosen
    for (const button of document.querySelectorAll("button.task"))
      button.setAttribute("aria-pressed", button.dataset.task === chosen)
    for (const view of views) view.clear()
    for (const place of document.querySelectorAll(".plot")) place.replaceChildren()
    const {documents, items} = JSON.parse(coloured(of("script.plots", chosen).textContent))
    views = await Bokeh.embed.embed_items(documents, items)
    // Drawn: the frame after the plots' own.
    requestAnimationFrame(() => requestAnimationFrame(() => {
      document.documentElement.dataset.drawn = Math.round(performance.now())
    }))
  }

  for (const button of document.querySelectorAll("button.task"))
    button.addEventListener("click", () => {
      chosen = button.dataset.task
      draw()
    })
  document.getElementById("theme").addEventListener("click", () => {
    picked = !isDark()
    draw()
  })
  system.addEventListener("change", () => {
    if (picked === null) draw()
  })
  draw()
})()
