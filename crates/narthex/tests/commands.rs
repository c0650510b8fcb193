//! The binary itself: exit codes, and what goes to which stream. What the gateway does is tested in `narthex-tests`.
//!
//! This is also what makes cargo build the binary before the tests of the whole workspace run it.

use std::process::{Command, Output};

fn narthex(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_narthex"))
        .args(arguments)
        .output()
        .expect("the binary was built with this test")
}

#[test]
fn says_its_version() {
    let output = narthex(&["version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), concat!("narthex ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_wrong_command_line_is_2() {
    assert_eq!(narthex(&["run", "--no-such-option"]).status.code(), Some(2));
    assert_eq!(narthex(&["run", "--resume"]).status.code(), Some(2), "`--resume` needs `--state`");
    assert_eq!(narthex(&["run", "--drain-grace", "soon"]).status.code(), Some(2));
}

#[test]
fn a_refused_configuration_is_3_and_says_where() {
    let directory = std::env::temp_dir().join(format!("narthex-commands-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("narthex.yaml");
    std::fs::write(&file, "narthex: 1\nlistenrs: {}\n").unwrap();
    for command in ["check", "run"] {
        let output = narthex(&[command, "--config", file.to_str().unwrap()]);
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
        assert!(said.contains("narthex.yaml:2:1") && said.contains("listeners"), "{command}: {said}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_file_that_is_not_there_is_an_error_with_its_name() {
    let output = narthex(&["check", "--config", "/nowhere/narthex.yaml"]);
    assert!(matches!(output.status.code(), Some(1 | 3)), "{:?}", output.status);
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("/nowhere/narthex.yaml"), "{said}");
}
