// Reads the page again every few seconds, and replaces what it shows. The page works
// without it.
(() => {
  'use strict';
  const every = 5000;
  const byID = (id) => document.getElementById(id);
  const button = byID('updates');
  let paused = false, timer = 0, lastAnswer = new Date();
  document.documentElement.classList.add('js');

  // The browser parses the answer without running anything in it.
  const read = () => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('GET', location.href);
    request.responseType = 'document';
    request.timeout = 2 * every;
    request.onload = () => {
      const main = request.status === 200 && request.response && byIDIn(request.response, 'situation');
      if (main) { resolve(request.response); } else { reject(new Error(`status ${request.status}`)); }
    };
    request.onerror = request.ontimeout = () => reject(new Error('no answer'));
    request.send();
  });
  const byIDIn = (doc, id) => doc.getElementById(id);

  // Do not replace text while it is selected.
  const selecting = (main) => {
    const selection = getSelection();
    return selection && !selection.isCollapsed && main.contains(selection.anchorNode);
  };

  const replace = (fresh) => {
    const old = byID('situation'), active = document.activeElement;
    const focused = old.contains(active) ? active.id : '';
    const before = byID('verdict').textContent, left = scrollX, top = scrollY;
    old.replaceWith(document.adoptNode(byIDIn(fresh, 'situation')));
    if (focused && byID(focused)) { byID(focused).focus({ preventScroll: true }); }
    scrollTo(left, top);
    document.title = fresh.title;
    byID('icon').href = byIDIn(fresh, 'icon').getAttribute('href');
    const now = byID('verdict').textContent;
    if (now !== before) { byID('announcement').textContent = now; }
  };

  const refresh = async () => {
    clearTimeout(timer);
    const main = byID('situation');
    if (!paused && !document.hidden && !selecting(main)) {
      try {
        const fresh = await read();
        lastAnswer = new Date();
        if (!paused && !selecting(byID('situation'))) { replace(fresh); }
        byID('stale').textContent = '';
        document.documentElement.classList.remove('old');
      } catch (error) {
        byID('stale').textContent = `The worker has not answered since ${lastAnswer.toLocaleTimeString()}; below is its last answer.`;
        document.documentElement.classList.add('old');
      }
    }
    clearTimeout(timer);
    timer = setTimeout(refresh, every);
  };

  button.addEventListener('click', () => {
    paused = !paused;
    button.setAttribute('aria-pressed', String(paused));
    if (!paused) { refresh(); }
  });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) { refresh(); } });
  document.addEventListener('click', async (event) => {
    const id = event.target instanceof Element && event.target.getAttribute('data-copy');
    if (!id) { return; }
    const code = byID(id);
    try {
      await navigator.clipboard.writeText(code.textContent);
      event.target.textContent = 'Copied';
    } catch (error) { // browsers allow it on secure origins only
      getSelection().selectAllChildren(code);
    }
  });
  timer = setTimeout(refresh, every);
})();
