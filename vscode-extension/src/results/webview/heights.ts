/** The geometry of a virtual list: the height of each row, and so its place. */

export class Heights {
  private heights = new Float64Array(1024);
  private tops = new Float64Array(1025); // tops[i]: where row i begins; right up to `valid`
  private valid = 0;
  private n = 0;

  /** How many rows there are. */
  get length(): number {
    return this.n;
  }

  /** How high all of them are. */
  get total(): number {
    return this.top(this.n);
  }

  /** Where a row begins; that of the row behind the last one is the end. */
  top(row: number): number {
    for (; this.valid < row; this.valid++) {
      this.tops[this.valid + 1] = (this.tops[this.valid] as number) + (this.heights[this.valid] as number);
    }
    return this.tops[row] as number;
  }

  height(row: number): number {
    return this.heights[row] as number;
  }

  /** Sets the height of a row, and returns by how much it has grown. */
  set(row: number, height: number): number {
    const more = height - (this.heights[row] as number);
    if (more !== 0) {
      this.heights[row] = height;
      this.valid = Math.min(this.valid, row);
    }
    return more;
  }

  /** Drops the rows from one on, and puts others there. */
  replaceFrom(row: number, count: number, height: (row: number) => number): void {
    const length = row + count;
    if (length > this.heights.length) {
      const more = new Float64Array(Math.max(length, 2 * this.heights.length));
      more.set(this.heights.subarray(0, row));
      this.heights = more;
      const tops = new Float64Array(more.length + 1);
      tops.set(this.tops.subarray(0, row + 1));
      this.tops = tops;
    }
    for (let i = row; i < length; i++) {
      this.heights[i] = height(i);
    }
    this.n = length;
    this.valid = Math.min(this.valid, row);
  }

  /** The row at a place: the last one that begins at or above it. */
  at(y: number): number {
    this.top(this.n);
    let low = 0;
    let high = this.n - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.tops[middle] as number) <= y) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  /** The rows between two places, with some more on both sides: from the first to before the second. */
  between(top: number, bottom: number, more: number): [number, number] {
    if (this.n === 0) {
      return [0, 0];
    }
    return [Math.max(0, this.at(top) - more), Math.min(this.n, this.at(bottom) + 1 + more)];
  }
}
