import { ask, askAll } from '../ask.ts';
import { pause, type Scenario, seconds } from '../drill.ts';

export const stop: Scenario = {
  name: 'stop',
  title: 'SIGTERM during work: a sidecar alone, two in turn, the edge',
  async run(drill) {
    const alone = await drill.sidecar({ args: ['--grace', '60'] });
    const edge = await drill.edge([alone]);
    const under = drill.load(edge, drill.asksOf(1, 6), 6);
    while ((await alone.figures()).running === 0) await pause(5);
    const began = performance.now();
    alone.process.kill('SIGTERM');
    await alone.said(/SIGTERM, finishing/);
    const late = await ask(edge.url, drill.asksOf(1, 12).at(-1)!);
    drill.answered(await under);
    drill.promise(
      'nothing new is taken: 503',
      `${late.status} ${late.code}`,
      late.status === 503 && ['shutting_down', 'sidecar_unreachable'].includes(late.code),
    );
    const status = await alone.ended;
    drill.promise(
      'it ends with status 0 when its work is done',
      `status ${status}, ${seconds(performance.now() - began)} after SIGTERM`,
      status === 0,
    );

    // As an update does it.
    const two = await Promise.all([drill.sidecar(), drill.sidecar()]);
    const before = await drill.edge(two);
    const asks = drill.asks(drill.isShort ? 40 : 600);
    let done = 0;
    const updates: Promise<unknown>[] = [];
    const answers = await askAll(asks, 6, async (what) => {
      const answer = await ask(before.url, what);
      const which = [Math.floor(asks.length / 4), Math.floor((2 * asks.length) / 3)].indexOf(++done);
      if (which >= 0) {
        two[which]!.process.kill('SIGTERM');
        updates.push(two[which]!.ended.then(() => drill.sidecar({ env: { GRPC_PORT: two[which]!.port } })));
      }
      return answer;
    });
    await Promise.all(updates);
    drill.answered(answers);

    const slow = drill.load(before, drill.asksOf(1, 8), 8);
    await pause(30);
    before.process.kill('SIGTERM');
    drill.answered(await slow);
    const ended = await before.ended;
    drill.promise('the edge too ends with status 0', `status ${ended}`, ended === 0);
  },
};
