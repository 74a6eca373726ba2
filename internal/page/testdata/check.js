// Checks the page as an accessibility tool does, and returns what is wrong.
(() => {
  const wrong = [];
  const say = (what, element) => wrong.push(`${what}: ${element.outerHTML.slice(0, 160)}`);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const shown = (e) => e.getClientRects().length > 0 && !e.closest('.unseen') && getComputedStyle(e).visibility !== 'hidden';

  if (!document.documentElement.lang) { wrong.push('the document has no language'); }
  if (!document.title) { wrong.push('the document has no title'); }
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) {
    wrong.push(`the page is ${scrollWidth} wide on a screen of ${clientWidth}`);
    all('body *').filter((e) => e.getBoundingClientRect().right > clientWidth + 1 && shown(e)).slice(0, 3).forEach((e) => say('too wide', e));
  }
  for (const landmark of ['header', 'main', '[role=search]']) {
    if (all(landmark).length !== 1) { wrong.push(`there are ${all(landmark).length} of ${landmark}`); }
  }
  const ids = all('[id]').map((e) => e.id);
  ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => wrong.push(`the id ${id} is there twice`));

  const levels = all('h1, h2, h3, h4').map((h) => Number(h.tagName[1]));
  if (levels.filter((l) => l === 1).length !== 1 || levels[0] !== 1) { wrong.push(`headings are ${levels}`); }
  levels.forEach((l, i) => { if (i && l > levels[i - 1] + 1) { wrong.push(`heading ${i} skips a level: ${levels}`); } });

  all('input, select, textarea').forEach((e) => { if (!e.labels.length && !e.ariaLabel) { say('no label', e); } });
  all('button, a').forEach((e) => { if (!(e.ariaLabel || e.textContent.trim())) { say('no name', e); } });
  all('svg').forEach((e) => { if (e.getAttribute('aria-hidden') !== 'true' && !(e.getAttribute('role') === 'img' && e.ariaLabel)) { say('a picture without words', e); } });
  all('[aria-labelledby]').forEach((e) => { if (!document.getElementById(e.getAttribute('aria-labelledby'))) { say('its label is missing', e); } });
  all('table').forEach((t) => {
    if (!t.caption) { say('no caption', t); }
    all('thead th', t).forEach((h) => { if (h.scope !== 'col') { say('no scope', h); } });
    all('tbody tr', t).forEach((r) => { if (r.cells.length > 1 && !r.querySelector('th[scope=row]')) { say('no row header', r); } });
  });

  // WCAG 2.2: relative luminance, contrast ratio.
  const channels = (color) => { const m = color.match(/[\d.]+/g).map(Number); return { rgb: m.slice(0, 3), alpha: m.length > 3 ? m[3] : 1 }; };
  const luminance = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c.alpha === 1) { return c.rgb; }
    }
    return [255, 255, 255];
  };
  const opaque = (e) => { for (; e; e = e.parentElement) { if (getComputedStyle(e).opacity !== '1') { return false; } } return true; };
  let texts = 0;
  all('body *').filter((e) => shown(e) && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())).forEach((e) => {
    texts++;
    const r = ratio(channels(getComputedStyle(e).color).rgb, ground(e));
    if (r < 4.5) { say(`contrast ${r.toFixed(2)}`, e); }
    if (!opaque(e)) { say('text that is not opaque', e); }
    if (parseFloat(getComputedStyle(e).fontSize) < 13) { say('text smaller than 13 px', e); }
  });
  if (texts < 10) { wrong.push(`only ${texts} texts were checked`); }
  all('.chart svg path[class^=line]').forEach((e) => {
    const r = ratio(channels(getComputedStyle(e).stroke).rgb, ground(e));
    if (r < 3) { say(`contrast of a line ${r.toFixed(2)}`, e); }
  });

  // Each control shows where the focus is, and is large enough for a finger.
  all('a[href], button, input').filter((e) => shown(e) || e.className === 'skip').forEach((e) => {
    e.focus({ focusVisible: true });
    const s = getComputedStyle(e);
    if (document.activeElement !== e) { say('takes no focus', e); return; }
    if (s.outlineStyle === 'none' || parseFloat(s.outlineWidth) < 2) { say('no focus outline', e); }
    const box = e.getBoundingClientRect();
    if (e.tagName !== 'A' && (box.height < 24 || box.width < 24)) { say(`a target of ${box.width} by ${box.height}`, e); }
  });
  document.activeElement.blur();
  return wrong;
})();
