import { isLoopback } from "../config/loopback.js";
import { secretWeakness } from "../config/secret.js";
import type { InterfaceSettings, Settings } from "../config/settings.js";
import type { Finding } from "./finding.js";

/** What the configuration means: who sees what, and what in it is weaker than it looks. */
export function configurationFindings(settings: Settings): Finding[] {
  return [source(settings), ...access(settings), ...exposure(settings), ...secretLength(settings)];
}

function source({ file, interfaces }: Settings): Finding {
  const names = [...interfaces.keys()].join(", ");
  return {
    area: "configuration",
    level: "ok",
    what: `${file ?? "no configuration file, defaults and environment"}: ${names === "" ? "no interfaces" : `interfaces ${names}`}`,
  };
}

function access({ auth, interfaces }: Settings): Finding[] {
  const all = [...interfaces.values()];
  if (!all.some(isReadable)) {
    return [
      {
        area: "configuration",
        level: "warning",
        what: all.length === 0 ? "no interface is configured" : "no interface may be read by anyone",
        consequence: "clients get nothing: nothing is readable unless it is configured",
        fix: "name the collections under `interfaces`, each with a `read` rule: docs/configuration.md has examples",
      },
    ];
  }
  if (auth.jwt !== undefined || auth.sessions !== undefined || auth.anonymous) return [];
  return [
    {
      area: "configuration",
      level: "warning",
      what: "there is no way in: auth has neither `jwt` nor `sessions`, and `anonymous` is false",
      consequence: `every request is answered 401 and every connection closed with ${auth.closeCode}`,
      fix: "auth: { jwt: { secret: … } } for users with tokens, or auth: { anonymous: true } for everyone",
    },
  ];
}

function exposure({ auth, host, interfaces, metrics, port }: Settings): Finding[] {
  const all = [...interfaces.values()];
  const open = namesOf(all.filter(({ read }) => read === true));
  const writable = namesOf(all.filter(({ write }) => write === true));
  const who = auth.anonymous ? `everyone who can reach ${host}:${port}` : "every user with a valid token";
  const findings: Finding[] = [];
  if (open !== "" && (auth.anonymous || auth.jwt !== undefined || auth.sessions !== undefined)) {
    findings.push({
      area: "configuration",
      level: "note",
      what: `${who} may read all documents of ${open} (\`read: true\`)`,
      ...(auth.anonymous &&
        !isLoopback(host) && {
          consequence: `${host} is not only this machine: make sure that this is meant`,
          fix: 'a rule such as read: { "user.id": "$user.sub" }, or auth: { anonymous: false }',
        }),
    });
  }
  if (writable !== "" && auth.anonymous) {
    findings.push({
      area: "configuration",
      level: "warning",
      what: `${who} may create, change and delete documents of ${writable} (\`write: true\`)`,
      consequence: "whoever finds the port can destroy the data",
      fix: 'a rule such as write: { "user.id": "$user.sub" }, or auth: { anonymous: false }',
    });
  }
  if (metrics.public && !isLoopback(host)) {
    findings.push({
      area: "configuration",
      level: "note",
      what: `everyone who can reach ${host}:${port} may read /metrics (\`metrics.public\`)`,
    });
  }
  return findings;
}

function secretLength({ auth }: Settings): Finding[] {
  const weakness = secretWeakness(auth.jwt);
  if (weakness === undefined) return [];
  const [what = weakness, ...advice] = weakness.split(". ");
  return [
    {
      area: "configuration",
      level: "warning",
      what,
      consequence: "whoever finds the secret can sign tokens for any user",
      fix: advice.join(". "),
    },
  ];
}

function isReadable({ read }: InterfaceSettings): boolean {
  return read !== false;
}

function namesOf(interfaces: readonly InterfaceSettings[]): string {
  return interfaces.map(({ name }) => name).join(", ");
}
