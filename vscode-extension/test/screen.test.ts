import { describe, expect, it } from 'vitest';
import { plain, Screen } from '../src/screen';

/** The final lines of a text, and those that are live at its end. */
function lines(...pieces: string[]): { final: string[]; live: string[] } {
  const screen = new Screen();
  const final: string[] = [];
  for (const piece of pieces) {
    screen.write(piece, (line) => final.push(line));
  }
  return { final, live: screen.live() };
}

describe('a screen', () => {
  it.each<[string, string[], string[], string[]]>([
    ['plain lines', ['a\nb\n'], ['a', 'b'], []],
    ['a line in pieces', ['a', 'b\nc'], ['ab'], ['c']],
    ['CRLF', ['a\r\nb\r\n'], ['a', 'b'], []],
    ['a progress bar', ['\r10%', '\r20%', '\r100%\n', 'done\n'], ['100%', 'done'], []],
    ['a bar that clears itself', ['\r10%\r   \r', '\n', 'done\n'], ['done'], []],
    ['nested bars', ['\ra\n\rb\x1b[A', '\ra2\n\rb2\x1b[A'], [], ['a2', 'b2']],
    ['erased', ['\rlong bar\r\x1b[K', 'x\n', 'y\n'], ['x', 'y'], []],
    [
      'colours that go on',
      ['\x1b[31mred\nstill\x1b[0m\nplain\n'],
      ['\x1b[31mred\x1b[0m', '\x1b[31mstill\x1b[0m', 'plain'],
      [],
    ],
    ['a sequence cut in two', ['a\x1b[3', '1mb\x1b[0m\n'], ['a\x1b[31mb\x1b[0m'], []],
    ['titles, links and others', ['\x1b]0;title\x07a\x1b]8;;x\x1b\\b\x1b(Bc\x1b[?25l\n'], ['abc'], []],
    ['control characters', ['a\x07\x7f\x9bb\n'], ['a\u2407\u2421\ufffdb'], []],
    ['an escape that begins nothing', ['\x1b\x01a\n'], ['\u2401a'], []],
  ])('shows %s', (_, pieces, final, live) => {
    const shown = lines(...pieces);
    expect(shown.final.map((line) => line.replaceAll('\x1b[0m\x1b[0m', '\x1b[0m'))).toEqual(final);
    expect(shown.live).toEqual(live);
  });

  it('shows the same however the text is cut', () => {
    const text =
      '\x1b[1;32mok\x1b[0m a\r10%\r\x1b[K20%\n\x1b]0;t\x07é😀\r\n\x1b[38;2;1;2;3mtrue\ncolour\x1b[m\n\rx\n\ry\x1b[A\rz\n';
    const whole = lines(text);
    expect(lines(...text.split(''))).toEqual(whole);
    for (const size of [2, 3, 5, 7]) {
      const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
        text.slice(i * size, (i + 1) * size),
      );
      expect(lines(...pieces)).toEqual(whole);
    }
  });

  it('breaks lines that are too long, and bounds what it holds', () => {
    const { final, live } = lines('x'.repeat(200_000) + '\n');
    expect(final.map((line) => line.length)).toEqual([65536, 65536, 65536, 3392]);
    expect(live).toEqual([]);
    expect(lines('\rbar\n'.repeat(100)).live.length).toBeLessThanOrEqual(17);
    expect(lines('\x1b[' + '1;'.repeat(10_000)).final).toEqual([]);
  });
});

it('plain text has no colours', () => {
  expect(plain('\x1b[1;31mred\x1b[0m and \x1b[38;5;9mmore\x1b[m')).toBe('red and more');
});
