/** How full batches of the U-Net have been since the start. */
export interface Occupancy {
  /** Runs of a U-Net on the device. */
  runs: number;
  /** Rows of all runs: images, once for each text. */
  rows: number;
  /** Those that shared a run with another request's. */
  batchedRows: number;
  /** Runs, by how many rows they had. */
  bySize: ReadonlyMap<number, number>;
}

export class OccupancyCounter implements Occupancy {
  runs = 0;
  rows = 0;
  batchedRows = 0;
  readonly bySize = new Map<number, number>();

  /** @param requests that the rows are of. */
  add(rows: number, requests: number): void {
    this.runs++;
    this.rows += rows;
    if (requests > 1) this.batchedRows += rows;
    this.bySize.set(rows, (this.bySize.get(rows) ?? 0) + 1);
  }
}
