//! The demo's commands do what the demo says they do: each is run by a shell, as a reader would.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_demo::{Command, commands, config};
use narthex_tests::Gateway;

#[test]
fn every_command_shows_what_it_says() {
    let demo = narthex_demo::start().expect("the loopback has free ports");
    let gateway =
        Gateway::start(&config(&demo, "127.0.0.1:0")).unwrap_or_else(|rendered| panic!("{rendered}"));
    let address = gateway.address("main").expect("the demo's listener is `main`");
    let mut wrong = Vec::new();
    for Command { what, command, expect } in commands(&format!("http://{address}")) {
        let bounded = command.replacen("curl ", "curl --max-time 20 ", 1);
        let output =
            std::process::Command::new("sh").args(["-c", &bounded]).output().expect("there is a shell");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let has_status = printed.lines().any(|line| line.starts_with(&format!("HTTP/1.1 {}", expect.status)));
        let has_text = printed.to_lowercase().contains(&expect.contains.to_lowercase());
        if !has_status || !has_text {
            wrong.push(format!("{what}\n{command}\nexpected {expect:?}, got:\n{printed}"));
        }
    }
    gateway.stop();
    assert!(wrong.is_empty(), "{} commands differ:\n\n{}", wrong.len(), wrong.join("\n\n"));
}
