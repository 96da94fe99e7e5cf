/** What becomes of the model of runs when sessions and servers come and go. */
import * as path from 'node:path';
import type { Runs } from '../runs';
import type { Sessions } from './sessions';

export function followSessions(runs: Runs, sessions: Sessions): { dispose: () => void } {
  return sessions.listen({
    past: () => {
      runs.remember();
    },
    present: () => {
      runs.caughtUp();
    },
    replaced: (folder) => {
      runs.forgetWhere(({ event }) => event.path === undefined || event.path.startsWith(folder + path.sep));
    },
    left: (outlived) => {
      if (outlived) {
        runs.leave();
      } else {
        runs.lost();
      }
    },
  });
}
