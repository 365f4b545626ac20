export type { InterfaceOptions, Options, Rule, Settings, User } from "./config/settings.js";
export { ConfigurationError, DatabaseUnreachableError, RequestError, TailgateError } from "./errors.js";
export { exported } from "./executors/exported.js";
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
