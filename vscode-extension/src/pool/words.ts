/** How figures and processes are said in few words. */
import { whose } from '../ranks';

/** Bytes as people say them: `1.2 GB`. */
export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (n >= 999.5 && unit < units.length - 1) {
    n /= 1000;
    unit++;
  }
  return `${unit === 0 || n >= 99.95 ? n.toFixed(0) : n.toFixed(1)} ${units[unit] ?? ''}`;
}

/** `1 rank`, `4 ranks`. */
export function count(n: number, thing: string): string {
  return `${n} ${thing}${n === 1 ? '' : 's'}`;
}

/** The ranks of a list such as `0,2-3`; one that makes no sense has none. */
export function parseRanks(list: string): number[] {
  return list.split(',').flatMap((part) => {
    const [, first, last] = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part) ?? [];
    if (first === undefined) {
      return [];
    }
    const from = Number(first);
    return Array.from({ length: Number(last ?? first) - from + 1 }, (_, i) => from + i);
  });
}

/** Who has a value: `local`, `rank 2`, `local, ranks 0-3`. */
export function who(local: boolean, ranks: readonly number[]): string {
  return [...(local ? ['local'] : []), ...(ranks.length > 0 ? [whose(ranks)] : [])].join(', ');
}

/** Text in Markdown as it is. */
export function escaped(text: string): string {
  return text.replace(/[\\`*_{}[\]()#+\-.!|<>~&$]/g, '\\$&');
}
