import type { Scenario } from '../drill.ts';
import { clock } from './clock.ts';
import { files } from './files.ts';
import { kill } from './kill.ts';
import { memory } from './memory.ts';
import { network } from './network.ts';
import { queue } from './queue.ts';
import { slow } from './slow.ts';
import { soak } from './soak.ts';
import { stop } from './stop.ts';

export const scenarios: readonly Scenario[] = [kill, network, queue, memory, files, clock, stop, slow, soak];
