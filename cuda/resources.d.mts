/** What a kernel uses on one architecture; `spilled` in bytes. */
export interface Use {
  kernel: string;
  arch: string;
  registers: number;
  spilled: number;
}

/** Reads nvcc's output with -Xptxas -v. */
export function parseResources(text: string): { uses: Use[]; warnings: string[] };
