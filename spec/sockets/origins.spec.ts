import { expect } from "chai";
import { originAllowed } from "../../src/sockets/origins.js";

describe("origins (hazard 35)", () => {
  const rows: [origin: string | undefined, host: string, allowed: boolean][] = [
    [undefined, "app.example.com", true],
    ["http://app.example.com", "app.example.com", true],
    ["https://app.example.com", "app.example.com", true],
    ["http://app.example.com", "app.example.com:80", true],
    ["https://app.example.com", "app.example.com:443", true],
    ["http://app.example.com:80", "app.example.com", true],
    ["http://app.example.com:8080", "app.example.com:8080", true],
    ["HTTP://App.Example.com", "app.EXAMPLE.com", true],
    ["http://[::1]:8080", "[::1]:8080", true],
    ["http://[0:0::1]:8080", "[::1]:8080", true],
    ["http://[2001:DB8::1]", "[2001:db8::1]:80", true],
    ["https://app.example.com", "app.example.com:80", false],
    ["http://app.example.com", "app.example.com:443", false],
    ["http://app.example.com:8080", "app.example.com", false],
    ["http://app.example.com", "app.example.com:8080", false],
    ["http://app.example.com:8081", "app.example.com:8080", false],
    ["http://example.com", "app.example.com", false],
    ["http://app.example.com.evil.test", "app.example.com", false],
    ["http://evil.test/app.example.com", "app.example.com", false],
    ["http://app.example.com@evil.test", "app.example.com", false],
    ["http://evil.test", "app.example.com@evil.test", false],
    ["http://evil.test", "evil.test/app.example.com", false],
    ["http://localhost", "127.0.0.1", false],
    ["http://[::1]", "127.0.0.1", false],
    ["null", "app.example.com", false],
    ["null", "null", false],
    ["", "", false],
    ["file://", "", false],
    ["app.example.com", "app.example.com", false],
    ["chrome-extension://app.example.com", "app.example.com", false],
    ["http://app.example.com", "", false],
  ];
  for (const [origin, host, allowed] of rows) {
    it(`${allowed ? "accept" : "refuse"} ${origin ?? "none"} at the host ${host || "without name"}`, () => {
      expect(originAllowed(origin, host, [])).to.equal(allowed);
    });
  }

  it("that are listed are accepted as they are written, and no others, those of the host neither", () => {
    const list = ["https://app.example.com", "http://localhost:5173", "capacitor://localhost"];
    for (const origin of list) expect(originAllowed(origin, "gate.test", list), origin).to.equal(true);
    const others = [
      "http://gate.test",
      "http://app.example.com",
      "https://app.example.com:444",
      "null",
      "https://x.app.example.com",
    ];
    for (const origin of others) expect(originAllowed(origin, "gate.test", list), origin).to.equal(false);
    expect(originAllowed(undefined, "gate.test", list)).to.equal(true);
  });
});
