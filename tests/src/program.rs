//! A program at the other end: a service in a process of its own that says one line when it is ready.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

/// It ends with its test.
pub struct Program {
    child: Child,
    said: String,
}

impl Program {
    /// Starts it and waits for its first line.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut said = String::new();
        let output = child.stdout.take().expect("it was piped a moment ago");
        BufReader::new(output).read_line(&mut said).expect("a program says text");
        assert!(!said.is_empty(), "{command:?} ended without a word");
        Self { child, said }
    }

    /// Its first line, which is the port where it listens.
    ///
    /// # Panics
    /// It is something else.
    pub fn port(&self) -> u16 {
        let port = self.said.trim().parse();
        port.unwrap_or_else(|_| panic!("a service says its port, not {:?}", self.said))
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it reads, if its command pipes that.
    pub fn input(&mut self) -> Option<&mut ChildStdin> {
        self.child.stdin.as_mut()
    }

    /// At once, whatever it is at.
    pub fn kill(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
