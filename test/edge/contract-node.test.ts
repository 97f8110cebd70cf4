import { nodeRuntime } from '../support/runtimes.ts';
import { contract } from './contract/suites.ts';

contract(nodeRuntime);
