import { type Answer, ask } from '../ask.ts';
import { lastingPort, type Sidecar } from '../children.ts';
import { type Scenario, seconds } from '../drill.ts';
import { pause, until } from '../until.ts';

export const stop: Scenario = {
  name: 'stop',
  title: 'SIGTERM during work: a sidecar alone, two in turn, the edge',
  async run(drill) {
    const alone = await drill.sidecar({ args: ['--grace', '60'] });
    const edge = await drill.edge([alone]);
    const under = drill.load(edge, drill.asksOf(1, 6), 6);
    await until(async () => (await arrived([alone])) >= 6);
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

    // As an update does it: the second when the first is back, and has been used again.
    const patient = { args: ['--grace', '60'] };
    const lasting = async () => drill.sidecar({ ...patient, env: { GRPC_PORT: await lastingPort() } });
    const two = await Promise.all([lasting(), lasting()]);
    const before = await drill.edge(two, { env: { LATENT_EDGE_GRACE: '60' } });
    const updated: Sidecar[] = [];
    let isOver = false;
    const update = async () => {
      for (const { process, port, ended } of two) {
        await pause(500);
        process.kill('SIGTERM');
        await ended;
        const again = await drill.sidecar({ ...patient, env: { GRPC_PORT: port } });
        updated.push(again);
        if (!(await until(async () => (await again.figures()).generated > 0)))
          throw new Error('Expected the sidecar that is back to be used');
      }
    };
    const over = update().finally(() => {
      isOver = true;
    });
    // It is looked at below.
    over.catch(() => {});
    const answers: Answer[] = [];
    while (!isOver) answers.push(...(await drill.load(before, drill.asks(12), 6)));
    await over;
    drill.answered(answers);

    const count = await arrived(updated);
    const slow = drill.load(before, drill.asksOf(1, 8), 8);
    await until(async () => (await arrived(updated)) >= count + 8);
    before.process.kill('SIGTERM');
    drill.answered(await slow);
    const ended = await before.ended;
    drill.promise('the edge too ends with status 0', `status ${ended}`, ended === 0);
  },
};

/** Requests that have come to them: those that run, those that wait, and those that are answered. */
async function arrived(sidecars: readonly Sidecar[]): Promise<number> {
  const figures = await Promise.all(sidecars.map((sidecar) => sidecar.figures()));
  return figures.reduce((sum, { running, waiting, generated }) => sum + running + waiting + generated, 0);
}
