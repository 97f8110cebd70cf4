/** `    4 MB`: powers of 1000, as disks are sold. */
export function bytesText(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e6 ? 1 : 0)} MB`.padStart(8);
}

/** `2,567,463,684` */
export function countText(count: number): string {
  return count.toLocaleString('en-US');
}

/** `1 step`, `20 steps` */
export function stepsText(count: number): string {
  return `${count} ${count === 1 ? 'step' : 'steps'}`;
}
