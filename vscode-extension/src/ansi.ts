/** Splits text with ANSI colours into pieces of one style each. */

/** A colour: the number of one of the theme's sixteen, or red, green and blue. */
export type Colour = number | readonly [number, number, number];

export interface Style {
  readonly fg?: Colour;
  readonly bg?: Colour;
  readonly bold?: true;
  readonly dim?: true;
  readonly italic?: true;
  readonly underline?: true;
  readonly strike?: true;
  readonly inverse?: true;
}

export interface Span {
  readonly text: string;
  readonly style: Style;
}

const none: Style = {};

/** Splits text into spans. Its only control sequences are colours. */
export function spans(text: string): Span[] {
  if (!text.includes('\x1b')) {
    return text === '' ? [] : [{ text, style: none }];
  }
  const found: Span[] = [];
  let style = none;
  let from = 0;
  const put = (to: number): void => {
    if (to > from) {
      found.push({ text: text.slice(from, to), style });
    }
  };
  for (const match of text.matchAll(/\x1b\[([\d;:]*)m/g)) {
    put(match.index);
    style = apply(style, match[1] ?? '');
    from = match.index + match[0].length;
  }
  put(text.length);
  return found;
}

/** The style after a colour code. */
function apply(before: Style, params: string): Style {
  let style: Mutable<Style> = { ...before };
  const codes = params.split(/[;:]/).map(Number);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] ?? 0;
    if (code === 0) {
      style = {};
    } else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes.slice(i + 1));
      i += used;
      if (colour !== undefined) {
        style[code === 38 ? 'fg' : 'bg'] = colour;
      }
    } else if (code in flags) {
      style[flags[code] as Flag] = true;
    } else if (code in ends) {
      for (const key of ends[code] ?? []) {
        style = without(style, key);
      }
    } else {
      const of = code < 90 ? code - 30 : code - 90; // 0-7 of the text, 10-17 of what is behind it
      const known = (code >= 30 && code <= 47) || (code >= 90 && code <= 107);
      if (known && of % 10 < 8) {
        style[of < 10 ? 'fg' : 'bg'] = (of % 10) + (code < 90 ? 0 : 8);
      }
    }
  }
  return style;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Flag = Exclude<keyof Style, 'fg' | 'bg'>;

const flags: Readonly<Record<number, Flag>> = {
  1: 'bold',
  2: 'dim',
  3: 'italic',
  4: 'underline',
  7: 'inverse',
  9: 'strike',
};

const ends: Readonly<Record<number, readonly (keyof Style)[]>> = {
  22: ['bold', 'dim'],
  23: ['italic'],
  24: ['underline'],
  27: ['inverse'],
  29: ['strike'],
  39: ['fg'],
  49: ['bg'],
};

function without(style: Style, key: keyof Style): Style {
  return Object.fromEntries(Object.entries(style).filter(([k]) => k !== key));
}

/** The colour of what follows 38 or 48, and how many codes that takes. */
function extended(codes: readonly number[]): [Colour | undefined, number] {
  const [kind, a = 0, b = 0, c = 0] = codes;
  if (kind === 5) {
    return [indexed(a), 2];
  }
  if (kind === 2) {
    return [[byte(a), byte(b), byte(c)], 4];
  }
  return [undefined, 0];
}

/** A colour of the 256: the theme's sixteen, a cube of six, and greys. */
function indexed(n: number): Colour {
  if (n < 16) {
    return n;
  }
  if (n < 232) {
    const level = (i: number): number => (i === 0 ? 0 : 55 + 40 * i);
    const cube = n - 16;
    return [level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)];
  }
  const grey = byte(8 + 10 * (n - 232));
  return [grey, grey, grey];
}

function byte(n: number): number {
  return Math.min(255, Math.max(0, n));
}

const names = ['Black', 'Red', 'Green', 'Yellow', 'Blue', 'Magenta', 'Cyan', 'White'];

/** A colour as CSS has it. */
export function css(colour: Colour): string {
  return typeof colour === 'number'
    ? `var(--vscode-terminal-ansi${colour < 8 ? '' : 'Bright'}${names[colour % 8] ?? 'White'})`
    : `rgb(${colour.join(' ')})`;
}
