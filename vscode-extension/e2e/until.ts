/** Waiting for conditions. */
import { setTimeout } from 'node:timers/promises';

/**
 * Waits until `condition` holds: until it returns something other than false, null, undefined or an empty array. An exception counts as
 * not yet. After `limit` milliseconds it fails, and says `what` was awaited and what was last seen or thrown.
 */
export async function until<T>(what: string, condition: () => Promise<T>, limit = 30_000): Promise<NonNullable<T>> {
  const end = Date.now() + limit;
  let last: unknown;
  while (Date.now() < end) {
    try {
      const value = await condition();
      last = value;
      if (value !== false && value !== null && value !== undefined && !(Array.isArray(value) && value.length === 0)) {
        return value;
      }
    } catch (error) {
      last = error;
    }
    await setTimeout(100);
  }
  throw new Error(`${what}: not within ${limit / 1000} s`, { cause: last });
}
