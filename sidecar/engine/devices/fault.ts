/**
 * Tests and drills: `LATENT_EDGE_TEST_LOSE=cpu:1=40,cuda:0=7` has these devices fail for good after so many runs of
 * programs, as a GPU can; `LATENT_EDGE_TEST_HANG` has the next run never end.
 * @returns the runs that a device is given; undefined: it is left alone.
 */
export function faultsOf(id: string, env: Record<string, string | undefined> = process.env) {
  const after = (name: string) => {
    const faults = (env[name] ?? '').split(',');
    const runs = faults.find((fault) => fault.startsWith(`${id}=`))?.slice(id.length + 1);
    return runs !== undefined && /^\d{1,9}$/.test(runs) ? Number(runs) : undefined;
  };
  return { loseAfter: after('LATENT_EDGE_TEST_LOSE'), hangAfter: after('LATENT_EDGE_TEST_HANG') };
}

/** `LATENT_EDGE_TEST_HANG=cuda:0=open` has its opening never end, `=driver` the start of the GPUs' driver. */
export function hangs(what: string, env: Record<string, string | undefined> = process.env): boolean {
  return (env.LATENT_EDGE_TEST_HANG ?? '').split(',').includes(what);
}
