//! The gateway as a library: what the binary, the tests and the benches start. Wiring only.

mod checking;
pub mod notify;
mod running;

pub use checking::{Checked, check_loaded, check_text, load_path, schema};
pub use running::{AccessOption, ConfigInput, Running, StartError, StartOptions};
