/** A pool over two hosts, as the views show it. It runs on test hosts: scripts/e2e.sh makes them for the pictures (`make screenshots`). */
import { writeFile } from 'node:fs/promises';
import * as path from 'node:path';
import { expect, it } from 'vitest';
import { startVSCode } from './fixture';
import { until } from './until';

const cells = `# %% Where
# %%dip --see all
import os, socket

rank = int(os.environ["RANK"])
print("here is", socket.gethostname())

# %% First of each
# %%dip -r each:0 --see host:h2
print("rank", rank, "for its host")
`;

const code = process.env.E2E_ON_HOSTS
  ? await startVSCode({
      folder: path.join(import.meta.dirname, 'folder'),
      name: 'Two hosts',
      settings: { 'dip.hosts': 'h1,h2', 'dip.ranksPerHost': 2, 'dip.hostsLease': 25, 'dip.session.keep': '0' },
    })
  : undefined;

it.skipIf(!code)('shows ranks below their hosts, and what becomes of a host', async () => {
  if (!code) {
    return;
  }
  await writeFile(path.join(code.folder, 'hosts.py'), cells);
  const window = await code.open();
  await window.openFile('hosts.py');
  await window.clickLens('Where', 'Run cell · all ranks');
  await window.outcome('Where', /^✓ 4\/4 ranks/);
  await window.clickLens('First of each', 'Run cell · ranks each:0');
  await window.outcome('First of each', /^✓ 2\/2 ranks/);
  const rows = (): Promise<string[]> => window.tree('Dip', 'Ranks');
  const host = async (name: string): Promise<string> => (await rows()).find((row) => row.startsWith(name)) ?? '';
  for (const name of ['h1', 'h2']) {
    await until(`the memory on ${name} is shown`, async () => /2 ranks · \d+ MB$/.test(await host(name)));
  }
  const names = (await rows()).map((row) => /^(?:local namespace|rank \d|h\d)/.exec(row)?.[0]);
  expect(names).toEqual(['h1', 'rank 0', 'rank 1', 'h2', 'rank 2', 'rank 3']);
  const channels = (await window.channels()).filter((name) => name.startsWith('Dip: rank')).sort();
  expect(channels).toEqual(['Dip: rank 0 (h1)', 'Dip: rank 1 (h1)', 'Dip: rank 2 (h2)', 'Dip: rank 3 (h2)']);
  if (process.env.E2E_SCREENSHOTS) {
    await window.screenshot(path.join(process.env.E2E_SCREENSHOTS, 'hosts.png'));
  }

  const but22 = (chain: string, face: string, end: string): string =>
    `iptables -I ${chain} ${face} eth0 -p tcp ! --${end} 22 -j DROP`;
  const cut = `${but22('INPUT', '-i', 'dport')}; ${but22('OUTPUT', '-o', 'sport')}`;
  await code.execute('ssh', '-o', 'StrictHostKeyChecking=no', 'h2', cut);
  await until('h2 is unreachable', async () => (await host('h2')).startsWith('h2unreachable'));
  await until('h2 is lost', async () => (await host('h2')).startsWith('h2lost'));
  expect((await rows()).filter((row) => /^rank [23]dead: host h2 lost: no answer for 25 s$/.test(row))).toHaveLength(2);
  await window.close();
});
