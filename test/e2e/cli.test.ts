import { describe, expect, it } from 'vitest';
import { call, run } from '../support/command-line.ts';

describe('doctor', () => {
  // Cases of all ops take seconds, and need no GPU: that there is none is said first.
  it('finds no fault where no GPU was asked for, and one where it was', async () => {
    const { checkUp } = await import('../../sidecar/doctor/check-up.ts');
    const findings = [];
    for await (const finding of checkUp()) {
      findings.push(finding);
      if (findings.length === 2) break;
    }
    const asked = await call('doctor', '--device', 'cuda:99');
    expect([asked.status, asked.out]).toEqual([
      1,
      expect.stringMatching(/^FAIL GPU: Unknown device "cuda:99"/m),
    ]);
    if (findings[1]!.name !== 'GPU') return;
    expect(findings[1]).toMatchObject({
      ok: true,
      detail: expect.stringMatching(/^none, so the CPU computes/),
    });
    expect(findings[1]!.detail).not.toContain('Unknown device');
  });
});

it('lists models and devices', async () => {
  const [models, devices] = await Promise.all([run('models'), run('devices')]);
  expect(models.out).toMatch(/\(default\)/);
  expect(devices.out).toMatch(/^cpu +.+threads/m);
});

it('helps', async () => {
  const { status, out } = await run('--help');
  expect(status).toBe(0);
  for (const command of ['serve', 'generate', 'module', 'devices', 'models']) expect(out).toContain(command);
  expect((await call()).status).toBe(1);
});
