/** Seconds: what is waited for comes at once, unless the machine is busy; after so many it does not come. */
const PATIENCE = 120;

/** Waits until it is so, and looks every few milliseconds. @returns whether it came to be. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<boolean> {
  for (const end = performance.now() + 1000 * PATIENCE; performance.now() < end; await pause(20))
    if (await isSo()) return true;
  return false;
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
