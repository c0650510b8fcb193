//! Commands that show what the gateway does, each with what must come back. `narthex demo` prints them, a test runs them.

/// One command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it shows.
    pub what: &'static str,
    /// A line for a POSIX shell: `curl` with options.
    pub command: String,
    pub expect: Expect,
}

/// What must come back. The commands print status line and fields (`-i`), so both can be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    pub status: u16,
    /// Somewhere in what is printed, letters in any case.
    pub contains: &'static str,
}

/// The commands against a gateway at `base`, such as `http://127.0.0.1:8080`. Those that change something do not disturb
/// the others, in this order.
pub fn commands(base: &str) -> Vec<Command> {
    let command = |&(what, options, path, status, contains): &Shown| {
        let space = if options.is_empty() { "" } else { " " };
        let command = format!("curl -sS -i{space}{options} '{base}{path}'");
        Command { what, command, expect: Expect { status, contains } }
    };
    SHOWN.iter().map(command).collect()
}

/// What it shows, options of curl, the path, the status, what is printed.
type Shown = (&'static str, &'static str, &'static str, u16, &'static str);

const SHOWN: &[Shown] = &[
    ("A service behind a route", "", "/v1/users/1", 200, "ada@example.com"),
    ("Every answer has a request id", "-H 'X-Request-Id: my-id'", "/v1/users", 200, "x-request-id: my-id"),
    ("A policy that edits headers", "", "/v1/users/1", 200, "x-served-by: narthex-demo"),
    (
        "A body goes to the service, which validates it",
        "-H 'Content-Type: application/json' -d '{\"name\":\"Alan\",\"email\":\"alan@example.com\"}'",
        "/v1/users",
        201,
        "location: /users/3",
    ),
    (
        "The service's own errors pass as they are",
        "-H 'Content-Type: application/json' -d '{}'",
        "/v1/users",
        422,
        "the demo service",
    ),
    ("Deleting", "-X DELETE", "/v1/users/3", 204, "204 No Content"),
    ("No such route", "", "/nowhere", 404, "\"reason\":\"no_route\""),
    ("The path is there, the method is not", "-X PATCH", "/v1/users/1", 405, "allow:"),
    (
        "A path that two programs read differently is refused",
        "--path-as-is",
        "/v1/users/..%2f..%2fetc",
        400,
        "\"reason\":\"bad_path\"",
    ),
    (
        "A body beyond the limit",
        "-H 'Expect:' -d \"$(head -c 3000 /dev/zero | tr '\\0' x)\"",
        "/v1/users",
        413,
        "\"reason\":\"body_too_large\"",
    ),
    (
        "A preflight, answered by the gateway",
        "-X OPTIONS -H 'Origin: https://shop.example' -H 'Access-Control-Request-Method: DELETE'",
        "/v1/users/1",
        204,
        "access-control-allow-origin: https://shop.example",
    ),
    ("Compression", "--compressed", "/v1/products", 200, "content-encoding:"),
    ("Captures in a redirect", "", "/old/users/1", 308, "location: /v1/users/1"),
    ("A reply without a service", "", "/ping", 200, "pong"),
    ("A split between services", "", "/canary", 200, "\"healthy\":true"),
    ("Who may ask: this machine", "", "/inside/users", 200, "\"healthy\":true"),
    ("Who may not", "", "/outside", 403, "\"reason\""),
    ("A slow service", "", "/v1/orders?delay_ms=300", 200, "\"orders\""),
    ("A service that fails on demand", "", "/v1/orders?fail=500", 500, "on demand"),
    ("Events stream through", "-N", "/v1/orders/events?count=3", 200, "data: {\"event\":3}"),
    ("A fallback when nobody answers", "", "/shaky", 503, "come back later"),
    (
        "A large download, of which only the head is shown",
        "-I",
        "/download?bytes=100000000",
        200,
        "content-length: 100000000",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole() {
        for Command { what, command, .. } in commands("http://h:1") {
            assert!(
                command.starts_with("curl -sS -i") && command.contains("'http://h:1/"),
                "{what}: {command}"
            );
            assert_eq!(command.matches('\'').count() % 2, 0, "{command}");
        }
    }
}
