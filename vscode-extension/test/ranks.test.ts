import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { hostsInPool, hostsOf, listHas, listOn, LOCAL, parseRanks, rankList, targetWords, whose } from '../src/ranks';
import { holders } from '../src/pool/variables';

interface Examples {
  /** `ranks` is null for all. */
  lists: { list: string; ranks: number[] | null; name: string }[];
  processes: { local: boolean; ranks: number[]; each: string }[];
  targets: { target: string; name: string }[];
  /** The ranks are on gpu1, gpu1, gpu2, gpu2, gpu3. */
  on_hosts: { local: boolean; ranks: number[]; name: string; list: string }[];
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

  it.each(examples.on_hosts)('names $name on hosts', ({ local, ranks, name, list }) => {
    const processes = local ? [LOCAL, ...ranks] : ranks;
    const hostOf = hostsInPool(['gpu1', 'gpu1', 'gpu2', 'gpu2', 'gpu3'].map((host, rank) => ({ rank, host })));
    expect(whose(processes, hostOf)).toBe(name);
    expect(listOn(processes, hostOf)).toBe(list);
  });

  it('names no host where there is one only', () => {
    expect(listOn([0], hostsOf([{ rank: 0 }]))).toBe('0');
    expect(whose([0], hostsInPool([{ rank: 0, host: 'gpu1' }]))).toBe('rank 0');
  });

  it('reads no ranks in what is no list', () => {
    expect(parseRanks('4-2')).toEqual([]);
    expect(parseRanks('x')).toEqual([]);
    expect(['-1', '::2', '1:3', 'host:gpu-2', 'each:0'].filter((list) => listHas(list, 0) || listHas(list, 2))).toEqual(
      [],
    );
  });
});
