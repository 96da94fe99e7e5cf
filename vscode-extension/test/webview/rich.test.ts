// @vitest-environment jsdom
import { expect, it, vi } from 'vitest';
import { fromFrame } from '../../src/results/webview/frame/contract';
import type { Frames } from '../../src/results/webview/frames';
import { richElement } from '../../src/results/webview/rich';

/** How an output is shown: by which renderer or as what, and its text. */
function shown(data: Record<string, unknown>): string {
  const how: string[] = [];
  const frames = {
    html: (html: string) => {
      how.push(`live ${html}`);
      return document.createElement('iframe');
    },
    drawn: ({ renderer }: { renderer: string }) => {
      how.push(renderer);
      return document.createElement('iframe');
    },
  } as unknown as Frames;
  const element = richElement(
    { kind: 'rich', data },
    {
      frames,
      whose: 'rank 0',
      fill: false,
      text: (text) => Object.assign(document.createElement('pre'), { textContent: text }),
      save: vi.fn(),
      allow: vi.fn(),
    },
  );
  const first = element.querySelector('iframe, img') ?? element;
  return how[0] ?? `${first.tagName.toLowerCase()} ${element.textContent}`.trim();
}

it.each([
  [{ 'text/plain': 'Figure', 'application/vnd.plotly.v1+json': {}, 'text/html': '<script>x</script>' }, 'plotly'],
  [{ 'text/plain': 'Chart', 'application/vnd.vegalite.v5+json': {} }, 'vega'],
  [{ 'text/plain': 'Chart', 'application/vnd.vega.v5.2.0+json': {} }, 'vega'],
  [{ 'text/markdown': '# a', 'text/plain': 'a' }, 'markdown'],
  [{ 'text/latex': '$x$', 'text/plain': 'x' }, 'markdown'],
  [{ 'text/html': '<div></div><script>draw()</script>' }, 'live <div></div><script>draw()</script>'],
  [{ 'text/html': '<table></table><b>b</b>', 'text/plain': 'b' }, 'iframe'],
  [{ 'text/html': '<div id="nothing"></div>', 'text/plain': 'a value' }, 'pre a value'],
  [{ 'image/png': 'AAAA', 'text/plain': '<Figure>' }, 'img'],
  [{ 'application/json': { a: 1 } }, 'div {1}a: 1'],
  [
    { 'application/vnd.jupyter.widget-view+json': { model_id: 'a' }, 'text/plain': 'IntProgress(value=3)' },
    'div IntProgress(value=3)This widget of Jupyter is not live here. Save…',
  ],
  [{ 'application/pdf': 'AAAA' }, 'div application/pdf cannot be shown here · Save…'],
])('shows the most that an output says: %j', (data, expected) => {
  expect(shown(data)).toBe(expected);
});

it('takes from frames what is a message, and nothing else', () => {
  expect(fromFrame({ type: 'height', height: 12 })).toEqual({ type: 'height', height: 12 });
  expect(fromFrame({ type: 'picture', format: 'png', url: 'data:image/png;base64,AA' })).toBeDefined();
  for (const bad of [
    null,
    'ready',
    { type: 'update', runs: [] },
    { type: 'height', height: Infinity },
    { type: 'height', height: '12' },
    { type: 'refused' },
    { type: 'picture', format: 'gif' },
    { type: 'picture', format: 'png', url: 'javascript:x()' },
    { type: 'picture', format: 'png', url: 'https://example.org' },
  ]) {
    expect(fromFrame(bad)).toBeUndefined();
  }
});
