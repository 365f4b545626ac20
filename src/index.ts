export type { InterfaceOptions, Options, Rule, Settings, User } from "./config/settings.js";
export { ConfigurationError, DatabaseUnreachableError, RequestError, TailgateError } from "./errors.js";
export { BadFunctionError, type Exported, exported, type WorkerContext } from "./executors/exported.js";
export { createExecutors, type Executors, type RunOptions } from "./executors/pools.js";
export {
  ExecutorQueueFullError,
  ExecutorStoppedError,
  ExecutorTimeoutError,
  NotSerialisableError,
  ThrownValueError,
  WorkerCrashedError,
} from "./executors/worker-errors.js";
export { createGateway, type Gateway } from "./gateway.js";
export type { HttpClient } from "./http-client.js";
export type { ChangeMessage, Operation } from "./message.js";
export {
  defineTask,
  type MainTaskContext,
  type MainTaskOptions,
  type TaskContext,
  type TaskDefinition,
  type TaskProgress,
  type WorkerTaskOptions,
} from "./tasks/define.js";
