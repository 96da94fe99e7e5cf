/** Cuts a line's text into pieces: by colours, by the places that it names, by what differs or is searched for. */
import { type Span, spans, type Style } from '../../ansi';

/** A place in a file that a text names. */
export interface Place {
  readonly path: string;
  readonly line: number;
}

export interface Piece {
  readonly text: string;
  readonly style: Style;
  readonly place?: Place;
  readonly differs?: true;
  readonly match?: true;
}

/** A part of a plain text, from a position to before another. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** Cuts a text with colours. Ranges count in the text without colour codes. */
export function pieces(text: string, differing?: Range, filter = ''): Piece[] {
  const coloured = spans(text);
  const plain = coloured.map((span) => span.text).join('');
  const places = placesIn(plain);
  const found = matchesIn(plain, filter);
  if (places.length === 0 && found.length === 0 && !differing) {
    return coloured;
  }
  const cuts = new Set<number>();
  for (const { from, to } of [...places, ...found, ...(differing ? [differing] : [])]) {
    cuts.add(from).add(to);
  }
  const at = (ranges: readonly Range[], position: number): number =>
    ranges.findIndex(({ from, to }) => from <= position && position < to);
  return cutAt(coloured, cuts).map(({ span, from }) => {
    const place = places[at(places, from)];
    return {
      ...span,
      ...(place && { place: place.place }),
      ...(at(found, from) >= 0 && { match: true as const }),
      ...(differing && at([differing], from) >= 0 && { differs: true as const }),
    };
  });
}

function cutAt(coloured: readonly Span[], cuts: ReadonlySet<number>): { span: Span; from: number }[] {
  const cut: { span: Span; from: number }[] = [];
  let from = 0;
  for (const { text, style } of coloured) {
    const inside = [...cuts].filter((c) => c > from && c < from + text.length).sort((a, b) => a - b);
    let begin = from;
    for (const end of [...inside, from + text.length]) {
      cut.push({ span: { text: text.slice(begin - from, end - from), style }, from: begin });
      begin = end;
    }
    from += text.length;
  }
  return cut;
}

function matchesIn(text: string, filter: string): Range[] {
  const found: Range[] = [];
  if (filter !== '') {
    const lower = text.toLowerCase();
    for (let from = lower.indexOf(filter); from >= 0; from = lower.indexOf(filter, from + filter.length)) {
      found.push({ from, to: from + filter.length });
    }
  }
  return found;
}

const forms = [
  /File "([^"\n<>]+)", line (\d+)/g, // Python
  /(?<=File )([^"\n<>]+?):(\d+)/g, // IPython
  /(?<=^\s*)(\/[^:"\n]*?\.pyx?):(\d+)(?=:)/g, // warnings
  /((?:[A-Za-z]:[\\/]|~?\/|\.{1,2}\/)?[^\s:"'()<>[\]]+\.pyx?):(\d+)/g, // linters
];

/** The places in files that a text names, each once, in order. */
export function placesIn(text: string): (Range & { place: Place })[] {
  if (!/\d/.test(text) || !/File |\.pyx?:/.test(text)) {
    return [];
  }
  const places: (Range & { place: Place })[] = [];
  for (const form of forms) {
    for (const match of text.matchAll(form)) {
      const [all, path = '', line] = match;
      const from = match.index;
      const to = from + all.length;
      if (!places.some((other) => from < other.to && other.from < to)) {
        places.push({ from, to, place: { path, line: Number(line) } });
      }
    }
  }
  return places.sort((a, b) => a.from - b.from);
}

/** Where each text differs from the others: everything but their common beginning and end. */
export function differences(texts: readonly string[]): (Range | undefined)[] {
  const [first = '', ...others] = texts;
  if (others.every((text) => text === first)) {
    return texts.map(() => undefined);
  }
  const shortest = Math.min(...texts.map((text) => text.length));
  let begin = 0;
  while (begin < shortest && others.every((text) => text[begin] === first[begin])) {
    begin++;
  }
  let end = 0;
  while (end < shortest - begin && others.every((text) => text.at(-1 - end) === first.at(-1 - end))) {
    end++;
  }
  // A word or number that differs in one character differs as a whole.
  if (texts.some((text) => isWord(text[begin]))) {
    while (begin > 0 && isWord(first[begin - 1])) {
      begin--;
    }
  }
  if (texts.some((text) => isWord(text[text.length - end - 1]))) {
    while (end > 0 && isWord(first.at(-end))) {
      end--;
    }
  }
  return texts.map((text) => ({ from: begin, to: text.length - end }));
}

function isWord(character: string | undefined): boolean {
  return character !== undefined && /[\w.]/.test(character);
}
