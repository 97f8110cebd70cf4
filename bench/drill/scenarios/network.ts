import { type Answer, ask, askAll } from '../ask.ts';
import { type Cable, cable } from '../cable.ts';
import { type Scenario, seconds } from '../drill.ts';
import { until } from '../until.ts';

/** Seconds of keepalive on both sides, where the default is 20 and 30. Half of it has to be enough for a busy machine. */
const KEEPALIVE = 4;

/** Seconds within which a cut is found out, and an answer made elsewhere: with the default keepalive it takes more. */
const SOON = 25;

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
    const answers = await askAll(asks, clients, async (what) => {
      const answer = await ask(edge.url, what);
      if (++done === Math.floor(asks.length / 3)) far.cut();
      return answer;
    });
    drill.answered(answers, { allowed: ['sidecar_unreachable'] });
    const slowest = Math.max(...answers.map(({ ms }) => ms));
    drill.promise(
      `a silent connection is found out within keepalive and half of it (${1.5 * KEEPALIVE} s here): no answer takes ${SOON} s`,
      `the slowest answer took ${seconds(slowest)}`,
      slowest < 1000 * SOON,
    );
    await until(async () => (await far.figures()).running === 0);
    const { running } = await far.figures();
    drill.promise('work for callers who are cut off ends there too', `${running} running`, running === 0);
    drill.answered(await drill.load(edge, drill.asks(20), clients));

    far.mend();
    const served = async () => (await far.figures()).generated;
    const before = await served();
    const answersAfter: Answer[] = [];
    await until(async () => {
      answersAfter.push(...(await drill.load(edge, drill.asksOf(0, 4), 2)));
      return (await served()) > before;
    });
    drill.answered(answersAfter);
    const after = await served();
    drill.promise(
      'once it is mended, both are used',
      `${after - before} requests went there`,
      after > before,
    );
  },
};
