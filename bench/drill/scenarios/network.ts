import { type Answer, ask, askAll } from '../ask.ts';
import { type Cable, cable } from '../cable.ts';
import { countsOf, range, type Scenario, seconds } from '../drill.ts';
import { until } from '../until.ts';

/** Seconds of keepalive on both sides, where the default is 20 and 30. Half of it has to be enough for a busy machine. */
const KEEPALIVE = 4;

/** Seconds within which a cut is found out, and an answer made elsewhere: with the default keepalive it takes more. */
const SOON = 25;

/** Steps of those that are under way when it is cut. */
const LONG = 1000;

export const network: Scenario = {
  name: 'network',
  title: 'The network between the edge and a sidecar of two is cut, and mended',
  async run(drill) {
    const near = await drill.sidecar();
    const env = { GRPC_KEEPALIVE: `${KEEPALIVE}`, GRPC_ALLOW_ANONYMOUS: 'true' };
    const far: Cable = await cable(drill, env);
    const edge = await drill.edge([near, far.address], { env: { SIDECAR_KEEPALIVE: `${KEEPALIVE}` } });
    const clients = 8;
    const asks = drill.asksOf(1, drill.isShort ? 32 : 400);
    const idle = await far.figures();
    // So long, and of seeds of their own, that those that are sent there run until it is cut.
    const leaving = new AbortController();
    const toldAt: number[] = [];
    const long = range(6).map(async (i) => {
      const what = { ...asks[0]!, steps: LONG, seed: 2000 + i };
      const answer = await ask(edge.url, what, { leave: leaving.signal, patience: 600 });
      if (answer.code === 'sidecar_unreachable') toldAt.push(performance.now());
      return answer;
    });
    const isAtWork = await until(async () => {
      const { running, steps } = await far.figures();
      // Each of them has done some: a request that has done none is begun again elsewhere.
      return running > 0 && steps > idle.steps + 8 * running;
    });
    let [done, atWork, cutAt] = [0, 0, 0];
    const answers = await askAll(asks, clients, async (what) => {
      const answer = await ask(edge.url, what);
      if (++done === Math.floor(asks.length / 3)) {
        atWork = (await far.figures()).running;
        far.cut();
        cutAt = performance.now();
      }
      return answer;
    });
    drill.promise('it is cut while requests run there', `${far.what}; ${atWork} ran`, isAtWork && atWork > 0);
    drill.answered(answers, { allowed: ['sidecar_unreachable'] });
    await until(() => toldAt.length > 0);
    leaving.abort();
    const codes = (await Promise.all(long)).map(({ code }) => code);
    const foundMs = Math.min(...toldAt) - cutAt;
    const slowest = Math.max(...answers.map(({ ms }) => ms));
    drill.promise(
      `a silent connection is found out after keepalive and half of it, ${1.5 * KEEPALIVE} s here; ${SOON} s are allowed, and to who is begun again elsewhere`,
      `callers of long requests were told ${seconds(foundMs)} after the cut; the slowest answer of the others took ${seconds(slowest)}`,
      foundMs < 1000 * SOON && slowest < 1000 * SOON,
    );
    drill.promise(
      'of the long requests those there are told so, 503; the others go on until they leave',
      countsOf(codes),
      toldAt.length > 0 && codes.every((code) => ['sidecar_unreachable', 'left'].includes(code)),
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
