import { stopSharedServer } from "./server.js";

export const mochaHooks = {
  async afterAll(): Promise<void> {
    await stopSharedServer();
  },
};
