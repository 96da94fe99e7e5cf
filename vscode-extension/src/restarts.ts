/** How often a server that ends by itself is restarted: one that keeps ending is left alone until the user restarts it. */
export class Restarts {
  private ends: number[] = [];

  /** At most `most` restarts within `period` milliseconds. */
  constructor(
    private readonly most = 3,
    private readonly period = 180_000,
  ) {}

  /** Whether a server that has ended at a time, in milliseconds, may be restarted. The call counts that end. */
  allows(now: number): boolean {
    this.ends = this.ends.filter((end) => now - end < this.period);
    this.ends.push(now);
    return this.ends.length <= this.most;
  }
}
