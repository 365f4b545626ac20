import type { Document, MongoClient } from "mongodb";

/** Makes commands of every client of the server fail; it adds no error labels of its own. */
export async function failCommand(
  client: MongoClient,
  mode: { times: number } | "alwaysOn" | "off",
  data:
    | {
        failCommands: string[];
        errorCode?: number;
        errorLabels?: string[];
        closeConnection?: boolean;
        blockConnection?: boolean;
        /** How long each is held back, where `blockConnection` says so. */
        blockTimeMS?: number;
      }
    | undefined,
): Promise<void> {
  const command: Document = { configureFailPoint: "failCommand", mode };
  if (data !== undefined) command.data = data;
  await client.db("admin").command(command);
}
