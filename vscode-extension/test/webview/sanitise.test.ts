// @vitest-environment jsdom
import { describe, expect, it } from 'vitest';
import { sanitise } from '../../src/results/webview/sanitise';

describe('HTML of programs', () => {
  it('keeps tables, their styles and images that are in the text', () => {
    const html =
      '<style>td { color: red }</style>' +
      '<table border="1" class="dataframe"><tr style="text-align: right;"><td>é</td></tr></table>' +
      '<img src="data:image/png;base64,AAAA" alt="x">';
    expect(sanitise(html, window)).toBe(
      '<style>td { color: red }</style>' +
        '<table class="dataframe"><tbody><tr style="text-align: right;"><td>é</td></tr></tbody></table>' +
        '<img src="data:image/png;base64,AAAA" alt="x">',
    );
  });

  it.each([
    ['<b onclick="x()">b</b><script>alert(1)</script>', '<b>b</b>'],
    ['<a href="javascript:x()">a</a><a href="https://example.org">b</a>', '<a>a</a><a>b</a>'],
    ['b<img src="https://example.org/x.png" srcset="y 2x" onerror="x()">', 'b<img>'],
    [
      'b<iframe src="x"></iframe><object data="x"></object><embed src="x"><link rel="stylesheet" href="x"><base href="x">',
      'b',
    ],
    ['b<svg><script>x()</script><circle r="1"/></svg><math><mi>x</mi></math>', 'b'],
    ['<form action="x">b<input name="y"><button>c</button></form>', 'bc'],
    ['b<meta http-equiv="refresh" content="0;url=x">', 'b'],
    ['<td background="https://example.org/x.png">b</td>', 'b'],
    ['<img src="data:text/html,<script>x()</script>">b', '<img>b'],
    ['b<noscript><p title="</noscript><img src=x onerror=x()>"></noscript>', 'b'],
  ])('loses what does something: %j', (html, expected) => {
    expect(sanitise(html, window)).toBe(expected);
  });

  it.each(['<script>draw()</script>', '<div id="plot"></div>', '<style>td {}</style>', ''])(
    'is none if nothing is seen: %j',
    (html) => {
      expect(sanitise(html, window)).toBeUndefined();
    },
  );
});
