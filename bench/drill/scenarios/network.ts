import { ask, askAll } from '../ask.ts';
import { type Cable, cable } from '../cable.ts';
import { pause, type Scenario, seconds } from '../drill.ts';

/** Seconds of keepalive on both sides, where the default is 20 and 30. */
const KEEPALIVE = 2;

export const network: Scenario = {
  name: 'network',
  title: 'The network between the edge and a sidecar of two is cut, and mended',
  async run(drill) {
    const near = await drill.sidecar();
    const env = { GRPC_KEEPALIVE: `${KEEPALIVE}`, GRPC_ALLOW_ANONYMOUS: 'true' };
    const far: Cable = await cable(drill, env);
    drill.say(`  (${far.what})`);
    const edge = await drill.edge([near, far.address], { env: { SIDECAR_KEEPALIVE: `${KEEPALIVE}` } });
    const clients = 8;
    const asks = drill.asksOf(1, drill.isShort ? 32 : 400);
    let done = 0;
    let cutAt = 0;
    const answers = await askAll(asks, clients, async (what) => {
      const answer = await ask(edge.url, what);
      if (++done === Math.floor(asks.length / 3)) {
        cutAt = performance.now();
        far.cut();
      }
      return answer;
    });
    drill.answered(answers, { allowed: ['sidecar_unreachable'] });
    const slowest = Math.max(...answers.map(({ ms }) => ms));
    drill.promise(
      `a silent connection is found out within keepalive and half of it (${1.5 * KEEPALIVE} s here)`,
      `the slowest answer took ${seconds(slowest)}`,
      slowest < 1000 * (1.5 * KEEPALIVE + 10),
    );
    await pause(Math.max(0, cutAt + 1500 * KEEPALIVE + 1000 - performance.now()));
    const { running } = await far.figures();
    drill.promise('work for callers who are cut off ends there too', `${running} running`, running === 0);
    drill.answered(await drill.load(edge, drill.asks(20), clients));

    far.mend();
    const served = async () => (await far.figures()).generated;
    const before = await served();
    for (const until = performance.now() + 30_000; (await served()) === before && performance.now() < until; )
      drill.answered(await drill.load(edge, drill.asksOf(0, 4), 2));
    const after = await served();
    drill.promise(
      'once it is mended, both are used',
      `${after - before} requests went there`,
      after > before,
    );
  },
};
