// What a page cannot say in HTML: whether it still hears something, and the chart.
'use strict'
;(() => {
  const live = document.querySelector('[data-live]')
  const words = document.querySelector('[data-live-words]')
  const tell = (isLive) => {
    if (!live || !words) return
    live.classList.toggle('stale', !isLive)
    words.textContent = isLive ? 'live' : 'not live: trying again'
  }
  document.addEventListener('htmx:sse:after:connection', () => tell(true))
  document.addEventListener('htmx:sse:after:message', () => tell(true))
  document.addEventListener('htmx:sse:error', () => tell(false))
  document.addEventListener('htmx:sse:before:connection', (event) => {
    if (event.detail?.connection?.attempt > 0) tell(false)
  })

  const place = document.querySelector('[data-chart]')
  if (!place || !window.uPlot) return
  const HOUR_S = 3600
  const points = JSON.parse(place.dataset.points || '[]')
  const columns = () => [points.map((p) => p[0]), points.map((p) => p[1]), points.map((p) => p[2])]
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
  let plot = null
  // An hour, or as long as the console runs: an empty line would say that nothing waited.
  const start = () => {
    const now = Date.now() / 1000
    return Math.max(now - HOUR_S, Math.min(points[0]?.[0] ?? now, now - 300))
  }
  const axis = () => ({
    stroke: colour('--quiet'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
  })
  const draw = () => {
    plot?.destroy()
    const line = (label, name, fill) => ({
      label,
      stroke: colour(name),
      width: 1.75,
      points: { show: false },
      spanGaps: true,
      value: (_u, v) => (v === null ? '–' : `${v} s`),
      ...(fill ? { fill: `${colour(name)}22` } : {}),
    })
    plot = new window.uPlot(
      {
        width: place.clientWidth,
        height: 150,
        cursor: { drag: { x: false, y: false } },
        scales: {
          x: { time: true, range: () => [start(), Date.now() / 1000] },
          y: { range: (_u, _min, max) => [0, Math.max(10, max * 1.1)] },
        },
        axes: [
          {
            ...axis(),
            values: (_u, splits) => splits.map((s) => new Date(s * 1000).toTimeString().slice(0, 5)),
          },
          { ...axis(), values: (_u, splits) => splits.map((v) => `${v} s`), size: 56 },
        ],
        series: [
          {},
          line('oldest unpublished change', '--accent', true),
          line('oldest sync of a connection', '--warn', false),
        ],
      },
      columns(),
      place,
    )
  }
  draw()
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
  new ResizeObserver(() => plot?.setSize({ width: place.clientWidth, height: 150 })).observe(place)
  document.addEventListener('htmx:sse:after:message', () => {
    const text = document.getElementById('point')?.getAttribute('value')
    if (!text) return
    const point = JSON.parse(text)
    if (points.length > 0 && point[0] <= points[points.length - 1][0]) return
    points.push(point)
    while (points.length > 0 && points[0][0] < Date.now() / 1000 - HOUR_S) points.shift()
    plot?.setData(columns())
  })
})()
