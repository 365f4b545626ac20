import { killCommands } from "./gateway.js";
import { stopSharedServer } from "./server.js";

export const mochaHooks = {
  async afterAll(): Promise<void> {
    killCommands();
    await stopSharedServer();
  },
};
