import { Noise } from '../sidecar/engine/noise.ts';
import type { Plan } from '../sidecar/graph/plan.ts';
import { type NativeDevice, type NativeProgram, native } from '../sidecar/native.ts';

/** Milliseconds, by what they went into. */
export type Stages = Record<string, number>;

/**
 * Watches the engine from outside while it runs as it is: each program's runs on the device, by the plan's name, and
 * the drawing of noise. To be called before a device is opened.
 * @returns what has gone by since it was last asked.
 */
export function watchStages(): () => Stages {
  let stages: Stages = {};
  const add = (name: string, since: number) => {
    stages[name] = (stages[name] ?? 0) + performance.now() - since;
  };

  watchPrograms((what, { name }, since) => add(what === 'run' ? `device ${name}` : what, since));

  const { draw } = Noise.prototype;
  Noise.prototype.draw = function timed(size) {
    const began = performance.now();
    try {
      return draw.call(this, size);
    } finally {
      add('noise', began);
    }
  };

  return () => {
    const taken = stages;
    stages = {};
    return taken;
  };
}

/** What has just been done with a plan, and since when. */
type Seen = (what: 'compile' | 'run', plan: Plan, since: number) => void;

/** Watches every program of the devices that are opened from now on. */
export function watchPrograms(seen: Seen): void {
  const addon = native();
  const open = addon.open.bind(addon);
  addon.open = async (options) => watchDevice(await open(options), seen);
}

function watchDevice(device: NativeDevice, seen: Seen): NativeDevice {
  const compile = device.compile.bind(device);
  const timed: NativeDevice['compile'] = async (plan, ...others) => {
    const began = performance.now();
    const program = await compile(plan, ...others);
    seen('compile', plan, began);
    const run = program.run.bind(program);
    const watched: NativeProgram['run'] = async (...args) => {
      const began = performance.now();
      try {
        return await run(...args);
      } finally {
        seen('run', plan, began);
      }
    };
    // The addon's own are read-only.
    Object.defineProperty(program, 'run', { value: watched });
    return program;
  };
  Object.defineProperty(device, 'compile', { value: timed });
  return device;
}
