/** For how long something has been going on, and how much time is left. The server says the same in lenses. */

/** How tqdm writes for how long something has gone on, and how much time is left: `[00:10<01:05, 4.50it/s]`. */
const tqdmTimes = /\[(?:\d+:)?\d+:\d\d<((?:\d+:)?\d+:\d\d)[,\]]/;

/** How many seconds are left, as a progress bar says; undefined if it does not. */
export function timeLeft(bar: string): number | undefined {
  return tqdmTimes
    .exec(bar)?.[1]
    ?.split(':')
    .reduce((left, part) => left * 60 + Number(part), 0);
}

/** A duration in whole seconds: `7 s`, `2 min 5 s`, `3 h 20 min`. */
export function lasted(seconds: number): string {
  const s = Math.floor(seconds);
  if (s < 60) {
    return `${s} s`;
  }
  return s < 3600
    ? `${Math.floor(s / 60)} min ${s % 60} s`
    : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** What is known of a run that goes on. */
interface Going {
  readonly started: number;
  readonly running: boolean;
  live(): readonly { readonly text: string }[];
}

/** For how long a run has been going on, and how much time is left: `12 s · 45 s left`; empty if it does not, or has only just begun. */
export function going(run: Going | undefined, now: number): string {
  if (!run?.running || now - run.started < 1000) {
    return '';
  }
  const left = run
    .live()
    .map(({ text }) => timeLeft(text))
    .find((seconds) => seconds !== undefined);
  return [lasted((now - run.started) / 1000), ...(left === undefined ? [] : [`${lasted(left)} left`])].join(' · ');
}
