//! `narthex proxy LISTEN URL`: a gateway in front of one service, without a file.

use clap::Args;
use narthex::{AccessOption, ConfigInput, StartOptions};

use super::{Outcome, run, say, start_log};

#[derive(Debug, Args)]
pub struct Proxy {
    /// Where to listen: `:8080`, `127.0.0.1:8080`.
    listen: String,
    /// What to stand in front of: `http://localhost:3000`.
    url: String,
    /// Print the configuration that this amounts to, and stop.
    #[arg(long)]
    print_config: bool,
}

impl Proxy {
    pub fn run(self) -> Outcome {
        let text = config(&self.listen, &self.url);
        if self.print_config {
            return say(text.trim_end());
        }
        start_log();
        let config = ConfigInput::Text { text, name: "proxy.yaml".into() };
        let options =
            StartOptions { config, access_log: AccessOption::FromConfig, ..StartOptions::default() };
        run::until_signalled(run::start(options)?)
    }
}

fn config(listen: &str, url: &str) -> String {
    let (listen, url) = (serde_json::Value::from(listen), serde_json::Value::from(url));
    format!(
        "narthex: 1
listeners:
  main: {{ address: {listen} }}
services:
  target: {{ url: {url} }}
access_log: {{ to: stdout }}
gateways:
  main:
    listeners: [main]
    routes:
      everything: {{ match: \"/{{rest=**}}\", public: true, to: target }}
"
    )
}
