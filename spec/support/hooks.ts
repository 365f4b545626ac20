import { killCommands } from "./gateway.js";
import { stopSharedServers } from "./server.js";

export const mochaHooks = {
  async afterAll(): Promise<void> {
    killCommands();
    await stopSharedServers();
  },
};
