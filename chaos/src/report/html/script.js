// A line under the pointer in every picture of the run, and zoom: drag over a time, double-click to
// go back. The page says everything without this too.
(() => {
  const LEFT = 110, PLOT = 1080, WIDTH = 1200, TOP = 18, BOTTOM = 18;
  const all = [...document.querySelectorAll('svg.time')].map(picture => ({
    picture,
    zoom: picture.querySelector('.zoom'),
    from: +picture.dataset.from,
    to: +picture.dataset.to,
    whole: [+picture.dataset.from, +picture.dataset.to],
    height: picture.viewBox.baseVal.height,
  }));
  const shape = (parent, name, attributes) => {
    const made = document.createElementNS(parent.namespaceURI, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    return parent.appendChild(made);
  };
  const sameTime = one => all.filter(other => other.whole.join() === one.whole.join());
  const place = (chart, ns) => LEFT + PLOT * (ns - chart.from) / (chart.to - chart.from);
  const name = (ns, step) => {
    const power = Math.floor(Math.log10(step) + 1e-9);
    return power >= 6 ? `${(ns / 1e9).toFixed(Math.max(0, 9 - power))} s`
      : `${(ns / 1e6).toFixed(Math.min(20, 6 - power))} ms`;
  };

  function show(chart, from, to) {
    const [first, last] = chart.whole;
    [chart.from, chart.to] = [from, to];
    const scale = PLOT / (last - first);
    const inner = chart.height - TOP - BOTTOM;
    chart.zoom.setAttribute('viewBox',
      `${(from - first) * scale} 0 ${(to - from) * scale} ${inner}`);
    const ticks = chart.picture.querySelector('.ticks');
    ticks.replaceChildren();
    let step = 10 ** Math.floor(Math.log10((to - from) / 10));
    step *= [1, 2, 5, 10].find(n => (to - from) / (step * n) <= 10);
    const bottom = chart.height - BOTTOM;
    for (let ns = Math.ceil(from / step) * step; ns <= to; ns += step) {
      const x = place(chart, ns);
      shape(ticks, 'line', { x1: x, x2: x, y1: bottom, y2: bottom + 4 });
      shape(ticks, 'text', { x, y: bottom + 15 }).textContent = name(ns, step);
    }
    number(chart);
  }

  // A number for which there is no room is left out: to zoom in makes room.
  function number(chart) {
    let last = -Infinity;
    for (const mark of chart.picture.querySelectorAll('.marks text')) {
      const ns = +mark.dataset.ns;
      const x = place(chart, ns);
      const isOutside = ns < chart.from || ns > chart.to;
      const isCrowded = x - last < 18;
      mark.style.display = isOutside || isCrowded ? 'none' : '';
      mark.setAttribute('x', x);
      if (!isOutside && !isCrowded) last = x;
    }
  }

  for (const chart of all) {
    const { picture } = chart;
    number(chart);
    const at = event => {
      const box = picture.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * WIDTH;
      return Math.min(Math.max(x, LEFT), LEFT + PLOT);
    };
    const time = x => chart.from + (x - LEFT) / PLOT * (chart.to - chart.from);
    let start = null, chosen = null;
    picture.addEventListener('pointerdown', event => { start = at(event); });
    picture.addEventListener('pointermove', event => {
      const x = at(event);
      for (const other of sameTime(chart)) {
        other.cursor ??= shape(other.picture, 'line', { class: 'cursor', y1: TOP });
        other.cursor.setAttribute('x1', x);
        other.cursor.setAttribute('x2', x);
        other.cursor.setAttribute('y2', other.height - BOTTOM);
      }
      if (start !== null && event.buttons) {
        chosen ??= shape(picture, 'rect',
          { class: 'chosen', y: TOP, height: chart.height - TOP - BOTTOM });
        chosen.setAttribute('x', Math.min(start, x));
        chosen.setAttribute('width', Math.abs(x - start));
      }
    });
    addEventListener('pointerup', event => {
      if (start === null) return;
      const [low, high] = [start, at(event)].sort((a, b) => a - b).map(time);
      const wide = Math.abs(at(event) - start) > 4;
      chosen?.remove();
      start = chosen = null;
      if (wide) sameTime(chart).forEach(other => show(other, low, high));
    });
    picture.addEventListener('dblclick', () =>
      sameTime(chart).forEach(other => show(other, ...other.whole)));
  }
})();
