import { type Answer, ask, askAll } from '../ask.ts';
import { lastingPort } from '../children.ts';
import type { Scenario } from '../drill.ts';
import { until } from '../until.ts';

export const kill: Scenario = {
  name: 'kill',
  title: 'A sidecar of two is killed under load, and started again',
  async run(drill) {
    const port = await lastingPort();
    const [first, second] = await Promise.all([drill.sidecar({ env: { GRPC_PORT: port } }), drill.sidecar()]);
    const edge = await drill.edge([first, second]);
    let done = 0;
    let atWork = 0;
    const clients = 8;
    const asks = drill.asksOf(1, drill.isShort ? 30 : 600);
    const answers = await askAll(asks, clients, async (what) => {
      const answer = await ask(edge.url, what);
      if (++done === Math.floor(asks.length / 3)) {
        // With work under way.
        await until(async () => {
          atWork = (await first.figures()).running;
          return atWork > 0;
        });
        await first.kill();
      }
      return answer;
    });
    drill.promise('it is killed at work', `${atWork} requests ran there`, atWork > 0);
    // What had done a step there is not begun again: its caller has seen progress.
    drill.answered(answers, { allowed: ['sidecar_unreachable'] });
    const failed = answers.filter(({ code }) => code !== 'ok').length;
    drill.promise(
      'those that had done a step there fail, 503; all others are made by the other one',
      `${failed} of at most ${clients} that were under way`,
      failed <= clients,
    );

    const again = await drill.sidecar({ env: { GRPC_PORT: port } });
    const served = async () => (await again.figures()).generated;
    const answersAfter: Answer[] = [];
    await until(async () => {
      answersAfter.push(...(await drill.load(edge, drill.asks(20), clients)));
      return (await served()) > 0;
    });
    drill.answered(answersAfter);
    const generated = await served();
    drill.promise('one that comes back is used again', `${generated} requests went there`, generated > 0);
    await drill.settled(second, {});
  },
};
