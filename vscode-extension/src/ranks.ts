/** Ranks as numbers and as people write them. The server writes them likewise: testdata/ranklist.json has the examples for both. */

/** Stands for the local namespace among ranks, as in the server's `dip.variables` and `dip.stack`. */
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

/** The ranks of a list such as `0,2-3`; one that makes no sense has none. */
export function parseRanks(list: string): number[] {
  return list.split(',').flatMap((part) => {
    const [first, last] = spanOf(part);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** The first and the last rank of a part of a list; the last is below the first if there are none. */
function spanOf(part: string): [first: number, last: number] {
  const [, first, last] = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part) ?? [];
  return first === undefined ? [0, -1] : [Number(first), Number(last ?? first)];
}

/** Whether a list such as `0-2,5`, or `all`, has a rank, as far as that does not go by a pool (`-1`, `host:gpu2`). */
export function listHas(list: string, rank: number): boolean {
  return (
    list === 'all' ||
    list.split(',').some((part) => {
      const [first, last] = spanOf(part);
      return first <= rank && rank <= last;
    })
  );
}

/** The host of a rank of a pool that is on several; nothing otherwise. */
export type HostOf = (rank: number) => string | undefined;

/** The hosts of ranks, as far as some of them say theirs. */
export function hostsOf(parts: readonly { readonly rank: number; readonly host?: string }[]): HostOf {
  const hosts = new Map(parts.map(({ rank, host }) => [rank, host]));
  return (rank) => hosts.get(rank);
}

/** A rank of a pool, and the name of its machine. */
export interface OnHost {
  readonly rank: number;
  readonly host: string;
}

/** The hosts of the ranks of a pool. On one host none needs to be told. */
export function hostsInPool(ranks: readonly OnHost[]): HostOf {
  return hostsOf(ranks.some(({ host }) => host !== ranks[0]?.host) ? ranks : []);
}

/** The host that all of these ranks are on, where the pool is on several; '' otherwise. */
function together(ranks: readonly number[], hostOf: HostOf): string {
  const [first, ...others] = ranks.map(hostOf);
  return first !== undefined && others.every((host) => host === first) ? first : '';
}

/** Writes ascending ranks as a list, with the host that they are on: `gpu2: 8-15`. */
export function listOn(ranks: readonly number[], hostOf: HostOf): string {
  const host = together(ranks, hostOf);
  return `${host && `${host}: `}${rankList(ranks)}`;
}

/**
 * Names ranks: `rank 1`, `ranks 0,2-4`; with the local namespace `local` or `local and ranks 0-3`. Where they are on one host of several, that is said,
 * too: `rank 11 (gpu2)`.
 */
export function whose(processes: readonly number[], hostOf: HostOf = () => undefined): string {
  const ranks = [...new Set(processes)].filter((process) => process !== LOCAL).sort((a, b) => a - b);
  const names = [
    ...(processes.includes(LOCAL) ? ['local'] : []),
    ...(ranks.length > 0 ? [`${ranks.length === 1 ? 'rank' : 'ranks'} ${rankList(ranks)}`] : []),
  ];
  const host = processes.includes(LOCAL) ? '' : together(ranks, hostOf);
  return names.join(' and ') + (host && ` (${host})`);
}

/** Says in words what a target is: `all ranks`, `local and rank 2`. */
export function targetWords(target: string): string {
  if (target === 'remote') {
    return 'all ranks';
  }
  const [, name, list = ''] = /^(\w+):(.*)$/.exec(target) ?? [];
  if (name === undefined) {
    return target;
  }
  const ranks = `${/^-?\d+$/.test(list) ? 'rank' : 'ranks'} ${list}`;
  return name === 'everywhere' ? `local and ${ranks}` : ranks;
}

/** Writes seconds as a person would: 30 ms, 1.2 s, 12 s, 3 min 05 s, 9 h 05 min, 3 d 04 h. */
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
  const two = (n: number): string => String(Math.floor(n)).padStart(2, '0');
  if (seconds < 3600) {
    return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  }
  if (seconds < 48 * 3600) {
    return `${Math.floor(seconds / 3600)} h ${two((seconds % 3600) / 60)} min`;
  }
  return `${Math.floor(seconds / 86400)} d ${two((seconds % 86400) / 3600)} h`;
}
