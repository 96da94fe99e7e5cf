/** How figures and ranks are said in few words. */

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

/** A duration: `0.4 s`, `12 s`, `3:07 min`, `1:02 h`. */
export function elapsed(seconds: number): string {
  if (seconds < 9.95) {
    return `${seconds.toFixed(1)} s`;
  }
  const whole = Math.round(seconds);
  if (whole < 60) {
    return `${whole} s`;
  }
  const [large, small, unit] =
    whole < 3600
      ? [Math.floor(whole / 60), whole % 60, 'min']
      : [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), 'h'];
  return `${large}:${String(small).padStart(2, '0')} ${unit}`;
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

/** A list such as `0,2-3` of ranks in ascending order. */
export function rankList(ranks: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < ranks.length;) {
    let last = i;
    while (ranks[last + 1] === (ranks[last] ?? 0) + 1) {
      last++;
    }
    parts.push(last === i ? String(ranks[i]) : `${ranks[i] ?? ''}-${ranks[last] ?? ''}`);
    i = last + 1;
  }
  return parts.join(',');
}

/** Who has a value: `local`, `rank 2`, `local, ranks 0-3`. */
export function who(local: boolean, ranks: readonly number[]): string {
  const of = ranks.length === 0 ? '' : `${ranks.length === 1 ? 'rank' : 'ranks'} ${rankList(ranks)}`;
  return [local ? 'local' : '', of].filter((part) => part !== '').join(', ');
}

/** Text in Markdown as it is. */
export function escaped(text: string): string {
  return text.replace(/[\\`*_{}[\]()#+\-.!|<>~&$]/g, '\\$&');
}
