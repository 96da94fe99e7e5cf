import { expect, test } from 'vitest';
import { Restarts } from '../src/restarts';

test('a server that keeps ending is left alone', () => {
  const restarts = new Restarts(2, 1000);
  expect([0, 100, 200].map((now) => restarts.allows(now))).toEqual([true, true, false]);
});

test('ends of long ago do not count', () => {
  const restarts = new Restarts(2, 1000);
  expect([0, 100, 1050, 1200].map((now) => restarts.allows(now))).toEqual([true, true, true, true]);
  expect(restarts.allows(1300)).toBe(false);
});
