import { describe, expect, it } from 'vitest';
import { type Block, Blocks } from '../src/notebooks/blocks';
import { named } from '../src/notebooks/places';
import { type Run, Runs } from '../src/runs';

/** A run on ranks, and the blocks that a notebook shows of it. */
function setup(ranks: number, see = 'all', quiet = false) {
  const runs = new Runs(() => 0);
  runs.apply({ event: 'run_started', run: 'r', target: 'remote', see, cell: 1, ...(quiet && { quiet }) });
  for (let rank = 0; rank < ranks; rank++) {
    runs.apply({ event: 'rank_state', run: 'r', rank, state: 'busy' });
  }
  const run = runs.get('r') as Run;
  const blocks = new Blocks(run);
  runs.listen({
    spliced: (_, index, removed, added) => {
      if (added.length === 0 && index === 0 && removed > 0) {
        blocks.anew();
      } else {
        blocks.changed(index);
      }
    },
    ranksChanged: (_, entry) => {
      blocks.entryChanged(entry);
    },
  });
  const say = (rank: number, text: string, name: 'stdout' | 'stderr' = 'stdout') => {
    runs.apply({ event: 'stream', run: 'r', rank, name, text });
  };
  const take = (): readonly Block[] => {
    runs.settle();
    return blocks.take();
  };
  return { runs, run, blocks, say, take, words: () => take().map(words) };
}

function words(block: Block): string {
  switch (block.kind) {
    case 'text':
      return `${block.stream}: ${block.text}`;
    case 'rich':
      return Object.keys(block.data).join();
    case 'failure':
      return `${block.name}: ${block.message}: ${block.stack}`;
  }
}

describe('the outputs of a cell', () => {
  it('have what ranks print alike once, with their label', () => {
    const { say, words } = setup(3);
    for (const rank of [0, 1, 2]) {
      say(rank, `the same\nrank ${rank}\n`);
    }
    expect(words()).toEqual(['stdout: [0-2] the same\n[0] rank 0\n[1] rank 1\n[2] rank 2\n']);
  });

  it('have no labels where there is one process, and nothing of ranks that are not to be seen', () => {
    const one = setup(1);
    one.say(0, 'epoch 1\n');
    expect(one.words()).toEqual(['stdout: epoch 1\n']);
    const two = setup(2, '1');
    two.say(0, 'unseen\n');
    two.say(1, 'seen\n');
    expect(two.words()).toEqual(['stdout: [1] seen\n']);
  });

  it('of a quiet run come when it has ended', () => {
    const { runs, blocks, say, words } = setup(1, 'all', true);
    say(0, 'epoch 1\n');
    expect(words()).toEqual([]);
    runs.apply({ event: 'run_finished', run: 'r', status: 'ok', seconds: 1 });
    blocks.anew();
    expect(words()).toEqual(['stdout: epoch 1\n']);
  });

  it('are errors only where all lines are', () => {
    const { say, words } = setup(1);
    say(0, 'a warning\n', 'stderr');
    expect(words()).toEqual(['stderr: a warning\n']);
    say(0, 'epoch 1\n');
    expect(words()).toEqual(['stdout: a warning\nepoch 1\n']);
  });

  it('show a progress bar once, as it is', () => {
    const { say, words } = setup(1);
    say(0, 'begin\n10%', 'stderr');
    say(0, '\r20%', 'stderr');
    expect(words()).toEqual(['stderr: begin\n', 'stderr: 20%\n']);
  });

  it('have rich output as it is, below its label', () => {
    const { runs, words } = setup(2);
    for (const rank of [0, 1]) {
      const data = { 'text/html': '<b>loss</b>', 'text/plain': 'loss' };
      runs.apply({ event: 'result', run: 'r', rank, execution_count: 1, data });
      runs.apply({ event: 'result', run: 'r', rank, execution_count: 2, data: { 'text/plain': '42' } });
    }
    expect(words()).toEqual(['stdout: [0-1]\n', 'text/html,text/plain', 'stdout: [0-1] 42\n']);
  });

  it('have a failure of several ranks once', () => {
    const { runs, words } = setup(2, '0');
    for (const rank of [0, 1]) {
      const failure = { ename: 'ValueError', evalue: 'no', traceback: ['Traceback', 'ValueError: no'] };
      runs.apply({ event: 'error', run: 'r', rank, ...failure });
    }
    expect(words()).toEqual(['ValueError: no: [0-1]\nTraceback\nValueError: no']);
  });

  it('that have not changed are the same objects', () => {
    const { say, take } = setup(1);
    say(0, 'line\n'.repeat(450));
    const before = take();
    say(0, 'more\n');
    const after = take();
    expect(before.length).toBe(3);
    expect(after.map((block, i) => block === before[i])).toEqual([true, true, false]);
  });

  it('are bounded, and say what is missing', () => {
    const { say, take } = setup(1);
    for (let i = 0; i < 60; i++) {
      say(0, 'line\n'.repeat(100));
      take();
    }
    say(0, 'the end\n');
    const lines = take().flatMap((block) => (block.kind === 'text' ? block.text.trimEnd().split('\n') : []));
    expect(lines.length).toBeLessThan(5002);
    const left = Number(/^… (\d+) outputs are left out here; the journal has them$/.exec(lines[0] ?? '')?.[1]);
    expect(left + lines.length - 1).toBe(6001);
    expect(lines.at(-1)).toBe('the end');
  });

  it('go when the cell clears them', () => {
    const { runs, say, words } = setup(1);
    say(0, 'epoch 1\n');
    expect(words()).toEqual(['stdout: epoch 1\n']);
    runs.apply({ event: 'display', run: 'r', rank: 0, clear: true });
    say(0, 'epoch 2\n');
    expect(words()).toEqual(['stdout: epoch 2\n']);
  });
});

describe('places in tracebacks', () => {
  it('are those of cells, with colours or without', () => {
    const uri = 'vscode-notebook-cell://localhost%3A8080:8080/tmp/%C3%A0%20b.ipynb#W2sZmlsZQ%3D%3D';
    const orders = new Map([[uri, 3]]);
    const name = (text: string) => named(text, (of) => orders.get(of));
    expect(name(`File ${uri}:8\n---> 8 f()`)).toBe('Cell In[3], line 8\n---> 8 f()');
    expect(name(`\x1b[36mFile \x1b[39m\x1b[32m${uri}:8\x1b[39m, in f()`)).toBe(
      '\x1b[36mCell In[3], line 8\x1b[39m, in f()',
    );
    expect(name('File vscode-notebook-cell:/b.ipynb#W0:1')).toBe('Cell line 1');
    expect(name('File /tmp/a.py:8')).toBe('File /tmp/a.py:8');
  });
});
