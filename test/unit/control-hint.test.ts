import { expect, test } from 'vitest';
import { Ticket } from '../../sidecar/engine/batching/ticket.ts';
import { ControlInRun } from '../../sidecar/engine/control/controls.ts';
import type { Denoiser } from '../../sidecar/engine/denoiser.ts';
import { type Evaluation, Evaluator } from '../../sidecar/engine/evaluator.ts';

test('the hint of a request whose caller has left is not made', async () => {
  const left = new AbortController();
  const picture = {
    ...{ width: 8, height: 8 },
    rgb: async () => {
      // While the picture is being read.
      left.abort('left');
      return new Uint8Array(3 * 8 * 8);
    },
  };
  // Making it would fail otherwise.
  const preprocessor = { row: { name: 'none such' }, values: {} };
  const net = { config: { conditioning_embedding_out_channels: [1] } };
  const control = { net, admitted: { hint: { picture, preprocessor, resize: 'stretch' } } } as never;
  const inRun = new ControlInRun(control, {} as never, { height: 1, width: 1 });
  const evaluation = {
    ...{ denoiser: {} as Denoiser, contexts: [], sample: new Float32Array(4), images: 1 },
    ...{ size: { height: 1, width: 1 }, timestep: 0 },
    groups: [{ texts: [0], controls: [{ control: inRun, factors: [1] }] }],
  } satisfies Evaluation;
  const ticket = new Ticket({ signal: left.signal });
  await expect(new Evaluator().evaluate(evaluation, ticket)).rejects.toBe('left');
});
