/** Ranks as numbers and as people write them. */

/** Stands for the local namespace where ranks are numbers. */
export const LOCAL = -1;

/** Writes ascending ranks as a list: `0-2,5`. The local namespace is `local`. */
export function rankList(ranks: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < ranks.length; i++) {
    const first = ranks[i] as number;
    if (first === LOCAL) {
      parts.push('local');
      continue;
    }
    let last = first;
    while (ranks[i + 1] === last + 1) {
      last++;
      i++;
    }
    parts.push(first === last ? String(first) : `${first}-${last}`);
  }
  return parts.join(',');
}

/** Whether a list such as `0-2,5`, or `all`, has a rank. */
export function listHas(list: string, rank: number): boolean {
  if (list === 'all') {
    return true;
  }
  return list.split(',').some((part) => {
    const [first, last] = part.split('-');
    return Number(first) <= rank && rank <= Number(last ?? first);
  });
}

/** Says of whom something is: `rank 1`, `ranks 0-3`, `local`. */
export function whose(ranks: readonly number[]): string {
  if (ranks.length === 1) {
    return ranks[0] === LOCAL ? 'local' : `rank ${ranks[0] as number}`;
  }
  return `ranks ${rankList(ranks)}`;
}

/** Says in words what a target is: `all ranks`, `local and rank 2`. */
export function targetWords(target: string): string {
  const [name = '', list] = target.split(':');
  if (name === 'remote') {
    return 'all ranks';
  }
  if (list === undefined) {
    return name;
  }
  const ranks = `${/^\d+$/.test(list) ? 'rank' : 'ranks'} ${list}`;
  return name === 'everywhere' ? `local and ${ranks}` : ranks;
}

/** Writes seconds as a person would: 30 ms, 1.2 s, 12 s, 3 min 05 s. */
export function duration(seconds: number): string {
  if (seconds < 0.1) {
    return `${(seconds * 1000).toFixed(0)} ms`;
  }
  if (seconds < 10) {
    return `${seconds.toFixed(1)} s`;
  }
  if (seconds < 60) {
    return `${seconds.toFixed(0)} s`;
  }
  return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, '0')} s`;
}
