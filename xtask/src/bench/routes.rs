//! How long a large configuration takes to check: seeded routes, each count several times, the median.

use std::fmt::Write as _;
use std::time::Instant;

use super::process::scratch;
use super::setup::tool;
use super::statistics::median;
use super::{Options, report};
use crate::shell::{command, output};

pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut table = String::from("| routes | `narthex check`, seconds |\n|---|---|\n");
    for (count, times) in [(10, 5), (1_000, 5), (10_000, 5), (50_000, 1)] {
        let file = scratch()?.join(format!("routes-{count}.yaml"));
        std::fs::write(&file, output(command(tool("routes")).arg(count.to_string()))?)?;
        let mut seconds = Vec::new();
        for _ in 0..times {
            let start = Instant::now();
            output(command(&options.binary).arg("check").arg("-c").arg(&file))?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        writeln!(table, "| {count} | {:.3} |", median(&seconds))?;
    }
    let conditions = report::conditions(&options.binary);
    report::write("routes", &format!("## Checking large configurations\n\n{conditions}\n\n{table}"))
}
