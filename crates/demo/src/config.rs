//! The configuration of a gateway in front of the demo services, with a line on what each part shows.

use crate::Demo;

/// The YAML of a gateway that listens at `listen` (such as `127.0.0.1:8080`) in front of these services.
pub fn config(demo: &Demo, listen: &str) -> String {
    CONFIG
        .replace("{{listen}}", listen)
        .replace("{{users}}", &demo.users.to_string())
        .replace("{{orders}}", &demo.orders.to_string())
        .replace("{{catalogue}}", &demo.catalogue.to_string())
}

const CONFIG: &str = r#"narthex: 1
listeners:
  main: { address: "{{listen}}" }
services:
  users: { url: "http://{{users}}" }
  orders: { url: "http://{{orders}}" }
  catalogue: { url: "http://{{catalogue}}" }
  # Nobody listens there: the route `shaky` shows what a fallback is for.
  absent: { url: "http://127.0.0.1:1", timeouts: { connect: 200ms } }
policies:
  browsers: { cors: { origins: "https://shop.example" } }
  marked: { headers: { response: { set: { X-Served-By: narthex-demo }, remove: [Server] } } }
gateways:
  demo:
    listeners: [main]
    policies: [browsers, marked]
    routes:
      # Templates: `{id}` is one segment. `strip` removes the prefix before the service is asked.
      users: { match: "GET /v1/users", strip: /v1, public: true, to: users }
      user: { match: { method: [GET, DELETE], path: "/v1/users/{id}" }, strip: /v1, public: true, to: users }
      # Bodies beyond 2 KiB are refused with 413, while they stream.
      new_user:
        match: "POST /v1/users"
        strip: /v1
        public: true
        policies: [ { body_limit: { max: 2KiB } } ]
        to: users
      # `{rest=**}` is everything below. Events and slow answers stream through.
      orders: { match: "/v1/orders/{rest=**}", strip: /v1, public: true, to: orders }
      # Compressed where the client accepts it.
      products:
        match: "GET /v1/products/{rest=**}"
        strip: /v1
        public: true
        policies: [ { compress: {} } ]
        to: catalogue
      # Nine of ten go to the catalogue, one to another service; both know this path.
      canary:
        match: "GET /canary"
        rewrite: /healthz
        public: true
        to: { split: { catalogue: 90, orders: 10 } }
      download: { match: "GET /download", public: true, to: catalogue }
      # Only this machine may ask.
      inside:
        match: "GET /inside/{service}"
        rewrite: /healthz
        public: true
        policies: [ { ip_access: { allow: ["127.0.0.0/8", "::1"] } } ]
        to: users
      outside:
        match: "GET /outside"
        public: true
        policies: [ { ip_access: { deny: ["127.0.0.0/8", "::1"] } } ]
        to: users
      # Captures in a redirect; a reply without a service; a fallback when there is none to ask.
      old: { match: "GET /old/{rest=**}", public: true, to: { redirect: "/v1/{path.rest}", status: 308 } }
      ping: { match: "GET /ping", public: true, to: { reply: { status: 200, body: pong } } }
      shaky:
        match: "GET /shaky"
        public: true
        to: absent
        fallback: [ { reply: { status: 503, body: "come back later" } } ]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_no_placeholder_left() {
        let demo = crate::start().unwrap();
        let config = config(&demo, "127.0.0.1:0");
        assert!(!config.contains("{{"), "{config}");
        for address in [demo.users, demo.orders, demo.catalogue] {
            assert!(config.contains(&address.to_string()));
        }
    }
}
