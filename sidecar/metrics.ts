import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { CallLog } from './calls.ts';
import type { Engine, StepKind, Watcher } from './engine/engine.ts';
import { toServiceError } from './errors.ts';

/** Seconds, from a step of a small model on a GPU to a whole request on a CPU. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Plans that have a series of their own; any further one counts as `other`, however many sizes are asked for. */
const MAX_PLANS = 100;

/** What Prometheus is told of a sidecar. Names begin with latent_edge_; units are seconds and bytes. */
export class Metrics implements Watcher {
  readonly registry = new Registry();
  readonly #plans = new Set<string>();
  readonly #calls: Counter<'method' | 'code'>;
  readonly #seconds: Histogram<'method'>;
  readonly #queueSeconds: Histogram<'outcome'>;
  readonly #stepSeconds: Histogram<'model' | 'size' | 'images'>;

  constructor(engine: Pick<Engine, 'info' | 'memory' | 'occupancy'>) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    // Gauges with names of counters, which promtool does not take; the same is there by type.
    for (const what of ['handles', 'requests', 'resources'])
      this.registry.removeSingleMetric(`nodejs_active_${what}_total`);
    this.#calls = new Counter({
      ...{ registers, name: 'latent_edge_requests_total', labelNames: ['method', 'code'] as const },
      help: 'Calls answered, by method and by "ok" or the code of their error: "cancelled", "queue_full", …',
    });
    this.#seconds = new Histogram({
      ...{ registers, name: 'latent_edge_request_seconds', labelNames: ['method'] as const },
      ...{ help: 'From a call to its answer, of calls that were answered with ok.', buckets: SECONDS },
    });
    this.#queueSeconds = new Histogram({
      ...{ registers, name: 'latent_edge_queue_wait_seconds', labelNames: ['outcome'] as const },
      help: 'What requests have waited for their turn, by what their wait ended in: "begun", or the code of an error.',
      buckets: SECONDS,
    });
    this.#stepSeconds = new Histogram({
      ...{ registers, name: 'latent_edge_step_seconds', buckets: SECONDS },
      labelNames: ['model', 'size', 'images'] as const,
      help: 'One denoising step of a request, the time of others that ran between included, by what its plan is made for.',
    });
    this.#gauge('latent_edge_requests_running', 'Requests that run.', () => engine.info().running);
    this.#gauge('latent_edge_requests_waiting', 'Requests that wait.', () => engine.info().queued);
    this.#gauge('latent_edge_queue_limit', 'Requests that may wait.', () => engine.info().queueLimit);
    this.#total('latent_edge_steps_total', 'Denoising steps run.', () => engine.info().stepsRun);
    this.#total(
      'latent_edge_controlnet_evaluations_total',
      'Evaluations of ControlNets: one for each image and text that one saw.',
      () => engine.info().controlnetEvaluations,
    );
    this.#total(
      'latent_edge_restarts_total',
      'Requests begun again on another device, as theirs was lost.',
      () => engine.info().restarts,
    );
    const up = new Gauge({
      ...{ registers, name: 'latent_edge_device_up', labelNames: ['device'] as const },
      help: 'Whether a device computes: 0 once it has failed for good.',
      collect() {
        for (const { id, lost } of engine.info().devices) up.set({ device: id }, lost ? 0 : 1);
      },
    });
    this.#total('latent_edge_unet_runs_total', 'Runs of a U-Net.', () => engine.occupancy.runs);
    this.#total(
      'latent_edge_unet_rows_total',
      'Rows of all those runs: images, once for each text. Rows for each run are how full batches are.',
      () => engine.occupancy.rows,
    );
    this.#total(
      'latent_edge_unet_shared_rows_total',
      "Rows that shared a run with another request's.",
      () => engine.occupancy.batchedRows,
    );
    const bySize = new Counter({
      ...{ registers, name: 'latent_edge_unet_runs_by_rows_total', labelNames: ['rows'] as const },
      help: 'Those runs, by their number of rows.',
      collect() {
        bySize.reset();
        for (const [rows, runs] of engine.occupancy.bySize) bySize.inc({ rows: String(rows) }, runs);
      },
    });
    const memory = new Gauge({
      ...{ registers, name: 'latent_edge_memory_bytes', labelNames: ['device', 'kind'] as const },
      help: 'Memory of the device, by what it is used for.',
      collect() {
        for (const { device, ...kinds } of engine.memory())
          for (const [kind, bytes] of Object.entries(kinds)) memory.set({ device, kind }, bytes);
      },
    });
  }

  /** A call was answered. */
  call({ method, code, ms }: CallLog): void {
    this.#calls.inc({ method, code });
    if (code === 'ok') this.#seconds.observe({ method }, ms / 1000);
  }

  waited(ms: number, refusal?: unknown): void {
    const outcome = refusal === undefined ? 'begun' : toServiceError(refusal).code;
    this.#queueSeconds.observe({ outcome }, ms / 1000);
  }

  stepped(kind: StepKind, ms: number): void {
    this.#stepSeconds.observe(this.#labels(kind), ms / 1000);
  }

  #labels({ model, width, height, images }: StepKind) {
    const size = `${width}x${height}`;
    const key = `${model} ${size} ${images}`;
    if (!this.#plans.has(key) && this.#plans.size >= MAX_PLANS)
      return { model: 'other', size: 'other', images: 'other' };
    this.#plans.add(key);
    return { model, size, images: String(images) };
  }

  #gauge(name: string, help: string, read: () => number): void {
    const gauge = new Gauge({
      ...{ name, help, registers: [this.registry] },
      collect() {
        gauge.set(read());
      },
    });
  }

  /** Of a count that is kept elsewhere. */
  #total(name: string, help: string, read: () => number): void {
    const counter = new Counter({
      ...{ name, help, registers: [this.registry] },
      collect() {
        counter.reset();
        counter.inc(read());
      },
    });
  }
}
