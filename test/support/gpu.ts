import { native } from '../../sidecar/native.ts';

/** The GPU that the suite runs on. */
export const DEVICE = process.env.LATENT_EDGE_TEST_DEVICE ?? 'cuda:0';

/** Whether this machine has it; where not, the suite is skipped and a line says so. */
export function hasGpu(): boolean {
  const devices = native().devices();
  if (devices.some(({ id }) => id === DEVICE)) return true;
  console.log(
    `No ${DEVICE} on this machine, only ${devices.map(({ id }) => id).join(', ')}: nothing is tested.`,
  );
  return false;
}
