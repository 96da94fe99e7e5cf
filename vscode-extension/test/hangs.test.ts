import { describe, expect, it } from 'vitest';
import type { DipEvent, HangEvent } from '../src/generated/server';
import { Alarms, standing, summary } from '../src/hangs';

function hang(more: Partial<HangEvent> = {}): HangEvent {
  return {
    event: 'hang',
    run: 'a-1',
    hang: 1,
    variant: 'elsewhere',
    level: 'warning',
    operation: 'all_reduce',
    waiting: [{ ranks: [0, 1, 3], path: '/home/u/ä/train.py', line: 41, why: 'in all_reduce' }],
    missing: [{ ranks: [2], path: '/home/u/ä/data.py', line: 88, why: 'in next(loader)' }],
    text: 'all_reduce #17: ranks 0-1,3 wait at train.py:41 for rank 2',
    ...more,
  };
}
const slow = hang({ hang: 2, level: 'info', missing: [{ ranks: [1], why: 'still in save()' }] });

describe('what a rank has to do with a hang', () => {
  it('is said with the place, or without where there is none', () => {
    expect(standing([hang()], 0)).toEqual({ text: 'waits in all_reduce at train.py:41', alarm: true });
    expect(standing([hang()], 2)).toEqual({ text: 'missing: in next(loader) at data.py:88', alarm: true });
    expect(standing([hang()], 4)).toBeUndefined();
    const finished = hang({ missing: [{ ranks: [2], why: 'has finished this cell' }] });
    expect(standing([finished], 2)?.text).toBe('missing: has finished this cell');
    expect(standing([hang({ waiting: [{ ranks: [0], why: '' }] })], 0)?.text).toBe('waits in all_reduce');
  });

  it('is the alarm where there is also something that is only slow', () => {
    expect(standing([slow, hang()], 1)).toEqual({ text: 'waits in all_reduce at train.py:41', alarm: true });
    expect(standing([slow], 1)).toEqual({ text: 'missing: still in save()', alarm: false });
  });
});

describe('who waits for whom', () => {
  it('is said in few words, of alarms only', () => {
    expect(summary([slow, hang()])).toBe('ranks 0-1,3 wait for rank 2');
    expect(summary([hang({ waiting: [{ ranks: [0], why: '' }], missing: [] })])).toBe('rank 0 waits');
    expect(summary([hang()], (rank) => `gpu${rank}`)).toBe('ranks 0-1,3 wait for rank 2 (gpu2)');
    expect(summary([slow])).toBeUndefined();
    expect(summary([])).toBeUndefined();
  });
});

describe('alarms', () => {
  it('are told once each, and not what is slow, corrected or over', () => {
    const alarms = new Alarms();
    const told = (event: DipEvent): boolean => alarms.apply(event) !== undefined;
    expect(told(slow)).toBe(false);
    expect(told({ ...slow, level: 'warning' })).toBe(true); // it has become one
    expect(told(hang())).toBe(true);
    expect(told(hang({ text: 'better known' }))).toBe(false);
    expect(told(hang({ gone: true }))).toBe(false);
    expect(told(hang({ run: 'a-2' }))).toBe(true);
    expect(told({ event: 'run_finished', run: 'a-1', status: 'ok', seconds: 1 })).toBe(false);
    expect(told(hang({ run: 'a-2', hang: 3 }))).toBe(true);
  });
});
