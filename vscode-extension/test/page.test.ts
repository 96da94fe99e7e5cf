import { beforeEach, describe, expect, test } from 'vitest';
import { Page, type PageLimits } from '../src/output/page';
import { plain } from '../src/screen';

let text: string;
let appended: number;
let replaced: number;

beforeEach(() => {
  text = '';
  appended = replaced = 0;
});

function newPage(limits: Partial<PageLimits> = {}): Page {
  const sink = {
    append: (more: string) => {
      text += more;
      appended++;
    },
    replace: (all: string) => {
      text = all;
      replaced++;
    },
  };
  return new Page(sink, plain, () => 'All of it is in /journal', limits);
}

test('lines are appended, without colours', () => {
  const page = newPage();
  page.add(['a', '\x1b[31mb\x1b[0m']);
  page.flush(0, false);
  page.add(['c']);
  page.flush(50, true);
  expect(text).toBe('a\nb\nc\n');
  expect(replaced).toBe(0);
  expect(page.line(1)).toBe('\x1b[31mb\x1b[0m');
});

test('a page that was emptied begins anew', () => {
  const page = newPage();
  page.add(['a', 'b']);
  page.flush(0, true);
  page.add(['c']);
  page.setLive(['1/3'], 0);
  page.empty();
  expect(text).toBe('');
  page.add(['a']);
  page.flush(50, true);
  expect([text, page.line(0), page.line(1)]).toEqual(['a\n', 'a', undefined]);
});

describe('live lines', () => {
  test('are one line that changes, for somebody who looks', () => {
    const page = newPage();
    page.add(['begin']);
    page.setLive(['1/3'], 1000);
    page.flush(1000, true);
    expect(text).toBe('begin\n1/3\n');
    page.setLive(['2/3'], 1050);
    const wait = page.flush(1050, true);
    expect([text, wait]).toEqual(['begin\n1/3\n', 150]);
    page.flush(1200, true);
    expect(text).toBe('begin\n2/3\n');
    expect(page.line(1)).toBe('2/3');
    page.add(['3/3']);
    page.setLive([], 1210);
    page.flush(1210, true);
    expect(text).toBe('begin\n3/3\n');
  });

  test('cost nothing while nobody looks', () => {
    const page = newPage();
    for (let i = 0; i < 1000; i++) {
      page.setLive([`${i}/1000`], i * 1000);
      expect(page.flush(i * 1000, false)).toBeUndefined();
    }
    expect([text, replaced]).toEqual(['', 0]);
    page.flush(1e6, true);
    expect(text).toBe('999/1000\n');
  });

  test('that are drawn go when nobody looks any more', () => {
    const page = newPage();
    page.setLive(['bar'], 1000);
    page.flush(1000, true);
    page.add(['done']);
    page.flush(1001, false);
    expect(text).toBe('done\n');
  });

  test('are drawn the less often the more text there is', () => {
    const page = newPage();
    page.add(Array.from({ length: 10_000 }, () => 'x'.repeat(99)));
    page.setLive(['1'], 10_000);
    page.flush(10_000, true);
    page.setLive(['2'], 10_000);
    expect(page.flush(10_000, true)).toBeGreaterThan(1000);
  });
});

describe('too much', () => {
  test('leaves the older half out, and says where it is', () => {
    const page = newPage({ kept: 1000 });
    for (let i = 0; i < 200; i++) {
      page.add([`line ${i}`]);
      page.flush(i, false);
    }
    const lines = text.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^… \d+ kB of older output left out here\. All of it is in \/journal$/);
    expect(lines.at(-1)).toBe('line 199');
    expect(text.length).toBeLessThan(1200);
    expect(page.line(lines.length - 1)).toBe('line 199');
  });

  test('at once leaves out its middle', () => {
    const page = newPage({ burst: 10_000, perSecond: 1000 });
    page.add(Array.from({ length: 10_000 }, (_, i) => `line ${i}`));
    page.flush(0, false);
    const lines = text.trimEnd().split('\n');
    expect(lines[0]).toBe('line 0');
    expect(lines.at(-1)).toBe('line 9999');
    expect(lines.filter((line) => line.startsWith('… '))).toHaveLength(1);
    expect(text.length).toBeLessThan(11_000);
  });

  test('for long is held to what somebody can read', () => {
    const page = newPage({ burst: 100_000, perSecond: 10_000, kept: 1 << 30 });
    for (let ms = 0; ms < 60_000; ms += 50) {
      page.add(Array.from({ length: 1000 }, (_, i) => `${ms} ${i} ${'x'.repeat(80)}`));
      page.flush(ms, false);
    }
    expect(text.length).toBeLessThan(100_000 + 60 * 10_000 + 1200 * 8192);
    expect(appended).toBe(1200);
  });

  test('a gigabyte is not held', () => {
    const page = newPage();
    const lines = Array.from({ length: 1000 }, () => 'x'.repeat(1000));
    for (let i = 0; i < 1000; i++) {
      page.add(lines);
      if (i % 10 === 0) {
        page.flush(i * 5, false);
      }
    }
    page.flush(6000, false);
    expect(text.length).toBeLessThan(3 << 20);
    expect(page.shown).toBe(text);
  });
});
