import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { hostsOf, listHas, listOn, LOCAL, parseRanks, rankList, targetWords, whose } from '../src/ranks';
import { holders } from '../src/pool/variables';

interface Examples {
  /** `ranks` is null for all. */
  lists: { list: string; ranks: number[] | null; name: string }[];
  processes: { local: boolean; ranks: number[]; each: string }[];
  targets: { target: string; name: string }[];
}

// The server and the agent are held to the same examples.
const examples = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../testdata/ranklist.json', import.meta.url)), 'utf8'),
) as Examples;

describe('ranks', () => {
  it.each(examples.lists)('reads and writes the list $list', ({ list, ranks, name }) => {
    expect(parseRanks(list)).toEqual(ranks ?? []);
    for (let rank = 0; rank < 10; rank++) {
      expect(listHas(list, rank)).toBe(ranks?.includes(rank) ?? true);
    }
    if (ranks) {
      expect(rankList(ranks)).toBe(list);
      expect(whose(ranks)).toBe(name);
    }
  });

  it.each(examples.processes)('names $each', ({ local, ranks, each }) => {
    expect(whose(local ? [...ranks, LOCAL] : ranks)).toBe(each);
    expect(holders({ local, ranks })).toBe(each);
  });

  it.each(examples.targets)('says what the target $target is', ({ target, name }) => {
    expect(targetWords(target)).toBe(name);
  });

  it('names the host of ranks, where they are on one of several', () => {
    const hostOf = hostsOf([
      { rank: LOCAL },
      ...['gpu1', 'gpu1', 'gpu2', 'gpu2'].map((host, rank) => ({ rank, host })),
    ]);
    expect(whose([3], hostOf)).toBe('rank 3 (gpu2)');
    expect(whose([0, 1], hostOf)).toBe('ranks 0-1 (gpu1)');
    expect(whose([1, 2], hostOf)).toBe('ranks 1-2');
    expect(whose([LOCAL, 1], hostOf)).toBe('local and rank 1');
    expect(listOn([2, 3], hostOf)).toBe('gpu2: 2-3');
    expect(listOn([0, 1, 2, 3], hostOf)).toBe('0-3');
    expect(listOn([0], hostsOf([{ rank: 0 }]))).toBe('0');
  });

  it('reads no ranks in what is no list', () => {
    expect(parseRanks('4-2')).toEqual([]);
    expect(parseRanks('x')).toEqual([]);
  });
});
