import { type OpName, ops } from './ops.ts';
import type { Attr, DType, WeightRef } from './plan.ts';
import { elements, match, ShapeError, sameShape } from './signature.ts';

/** A value of the trace. Tensors of one `id` share their bytes: a reshape is another tensor of the same id. */
export interface Tensor {
  readonly id: number;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** An op of the trace; its output is a tensor of its own. */
export interface Node {
  op: OpName;
  scope: string;
  inputs: Record<string, Tensor>;
  weights: Record<string, WeightRef>;
  attrs: Record<string, Attr>;
  output: Tensor;
}

/** Names given to an op; those that are undefined are left out. */
type Optional<T> = Record<string, T | undefined>;

/** A model traced for one shape: named inputs and outputs, ops in order, parameters by checkpoint key. */
export class Graph {
  readonly name: string;
  readonly inputs = new Map<string, Tensor>();
  readonly outputs = new Map<string, Tensor>();
  readonly nodes: Node[] = [];
  readonly params = new Map<string, readonly number[]>();
  #tensors = 0;

  constructor(name: string) {
    this.name = name;
  }

  input(name: string, shape: readonly number[], dtype: DType = 'f32'): Tensor {
    if (this.inputs.has(name))
      throw new Error(`Expected inputs of different names but received ${name} twice`);
    const tensor = this.#tensor(shape, dtype);
    this.inputs.set(name, tensor);
    return tensor;
  }

  output(name: string, tensor: Tensor): void {
    if (this.outputs.has(name))
      throw new Error(`Expected outputs of different names but received ${name} twice`);
    this.outputs.set(name, tensor);
  }

  /** The same bytes under another shape; free. */
  reshape(x: Tensor, shape: readonly number[]): Tensor {
    if (elements(shape) !== elements(x.shape))
      throw new ShapeError(
        `Expected ${elements(x.shape)} elements for a reshape but received [${shape.join(', ')}]`,
      );
    return { id: x.id, shape, dtype: x.dtype };
  }

  /** Declares a parameter. Declaring it again with the same shape shares it. */
  param(name: string, shape: readonly number[]): WeightRef {
    const before = this.params.get(name);
    if (before && !sameShape(before, shape))
      throw new ShapeError(`Expected [${before.join(', ')}] for ${name} but received [${shape.join(', ')}]`);
    this.params.set(name, shape);
    return { names: [name], shape: [...shape] };
  }

  /**
   * Adds an op; the op table gives the output's shape.
   * @throws ShapeError naming the op, its scope and the tensor that does not fit.
   */
  op(
    op: OpName,
    scope: string,
    inputs: Optional<Tensor>,
    weights: Optional<WeightRef> = {},
    attrs: Optional<Attr> = {},
  ): Tensor {
    const node = { inputs: given(inputs), weights: given(weights), attrs: given(attrs) };
    try {
      const { output } = match(ops[op], { ...node.inputs, ...node.weights }, node.attrs);
      const tensor = this.#tensor(output, 'f32');
      this.nodes.push({ op, scope, ...node, output: tensor });
      return tensor;
    } catch (error) {
      if (error instanceof ShapeError) error.message += `, in ${op} at ${scope}`;
      throw error;
    }
  }

  /** Elements of all parameters. */
  get parameters(): number {
    return [...this.params.values()].reduce((sum, shape) => sum + elements(shape), 0);
  }

  #tensor(shape: readonly number[], dtype: DType): Tensor {
    return { id: this.#tensors++, shape, dtype };
  }
}

/** Checkpoint tensors side by side along their first dimension, as one parameter: packed q, k and v. */
export function joined(refs: WeightRef[]): WeightRef {
  const [first, ...rest] = refs;
  const rows = refs.reduce((sum, ref) => sum + ref.shape[0]!, 0);
  for (const ref of rest)
    if (!sameShape(ref.shape.slice(1), first!.shape.slice(1)))
      throw new ShapeError(
        `Expected rows of [${first!.shape.slice(1).join(', ')}] but received ${ref.names[0]}`,
      );
  return { names: refs.flatMap((ref) => ref.names), shape: [rows, ...first!.shape.slice(1)] };
}

/** A place among the checkpoint's keys: `w.at('down_blocks', 0, 'resnets', 1)` is `down_blocks.0.resnets.1`. */
export class Weights {
  readonly path: string;
  readonly graph: Graph;

  constructor(graph: Graph, path = '') {
    this.graph = graph;
    this.path = path;
  }

  at(...parts: (string | number)[]): Weights {
    return new Weights(this.graph, [this.path, ...parts].filter((part) => part !== '').join('.'));
  }

  /** Declares `<path>.<name>`. */
  param(name: string, shape: readonly number[]): WeightRef {
    return this.graph.param(this.path ? `${this.path}.${name}` : name, shape);
  }
}

function given<T>(values: Optional<T>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Record<
    string,
    T
  >;
}
