'use strict';
// Sorts and filters tables of cases, and opens what a link leads to. The page can be read without it.
const made = (name, properties, ...inside) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...inside);
  return element;
};
document.querySelectorAll('.cases').forEach((box, at) => {
  const table = box.querySelector('table');
  const rows = [...table.tBodies];
  const word = row => row.querySelector('.verdict').textContent;
  const search = made('input', {type: 'search', id: 'filter-' + at});
  const all = made('option', {value: '', textContent: 'all'});
  const words = [...new Set(rows.map(word))].map(text => made('option', {value: text, textContent: text}));
  const verdict = made('select', {id: 'verdict-' + at}, all, ...words);
  const status = made('span', {role: 'status'});
  const show = () => {
    const parts = search.value.toLowerCase().split(/\s+/);
    const wanted = row => parts.every(part => row.rows[0].textContent.toLowerCase().includes(part))
      && (verdict.value === '' || verdict.value === word(row));
    rows.forEach(row => { row.hidden = !wanted(row); });
    status.textContent = rows.filter(row => !row.hidden).length + ' of ' + rows.length + ' cases';
  };
  search.addEventListener('input', show);
  verdict.addEventListener('change', show);
  show();
  box.before(made('div', {className: 'controls'},
    made('label', {htmlFor: search.id}, 'Filter '), search,
    made('label', {htmlFor: verdict.id}, 'Verdict '), verdict, status));

  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = made('button', {type: 'button'}, ...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const down = head.ariaSort === 'ascending';
      heads.forEach(other => { other.removeAttribute('aria-sort'); });
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const key = row => row.rows[0].cells[column].dataset.sort;
      const name = row => row.rows[0].cells[0].textContent;
      const compare = (a, b) => {
        if (column === 0) return name(a).localeCompare(name(b), 'en', {numeric: true}) * (down ? -1 : 1);
        const [x, y] = [key(a), key(b)];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        return (x - y) * (down ? -1 : 1);
      };
      table.append(...[...rows].sort(compare));
    });
  });
});
const follow = () => {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  for (let at = place; at; at = at.parentElement) if (at.tagName === 'DETAILS') at.open = true;
  const folded = place.querySelector('details');
  if (place.matches('tbody') && folded) folded.open = true;
  place.scrollIntoView();
};
addEventListener('hashchange', follow);
follow();
