import { expect, test } from 'vitest';
import { pageText } from '../src/results/pageText';

test('the title of a page stays a title, whatever a cell or a key is called', () => {
  const title = `</title><form action=https://evil.example><script src="https://evil.example/a.js"></script>'&`;
  const text = pageText({
    nonce: 'n0nce',
    source: 'https://files',
    network: true,
    title,
    style: 'results.css',
    script: 'results.js',
    renderers: 'renderers',
  });
  expect(text).not.toContain('evil.example>');
  expect(text).not.toContain('<form');
  expect(text.match(/<script/g)).toHaveLength(1);
  expect(text.match(/<\/title>/g)).toHaveLength(1);
  expect(text).toContain('&#60;/title&#62;&#60;form action=https://evil.example&#62;');
  expect(text).toContain("form-action 'none'; base-uri 'none'");
});
