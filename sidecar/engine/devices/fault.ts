/**
 * Tests and drills: `LATENT_EDGE_TEST_LOSE=cpu:1=40,cuda:0=7` has these devices fail for good after so many runs of
 * programs, as a GPU can.
 * @returns the runs that a device is given; undefined: it is left alone.
 */
export function loseAfter(id: string, env: Record<string, string | undefined> = process.env) {
  const faults = (env.LATENT_EDGE_TEST_LOSE ?? '').split(',');
  const runs = faults.find((fault) => fault.startsWith(`${id}=`))?.slice(id.length + 1);
  return runs !== undefined && /^\d{1,9}$/.test(runs) ? Number(runs) : undefined;
}
