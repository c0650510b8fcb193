//! The house's own commands: `cargo xtask {check,test,bench,docs,new-policy}`.
fn main() {}
