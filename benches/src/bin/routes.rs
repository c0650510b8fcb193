//! A configuration with so many routes, the same for the same seed. Usage: routes COUNT [SEED]
//! The paths are of the kinds that real ones are: plain, with a placeholder in the middle or at the end, open at
//! the end; methods vary. No two of them tie.

use std::fmt::Write as _;
use std::io::Write as _;

use narthex_benches::argument;

/// Numerical Recipes' 64-bit generator: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const NOUNS: [&str; 12] = [
    "users", "orders", "items", "carts", "prices", "stock", "reviews", "images", "payments", "returns",
    "news", "search",
];
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

fn main() -> anyhow::Result<()> {
    let count: usize = argument(1, "a number of routes")?;
    let seed = if std::env::args().len() > 2 { argument(2, "a seed")? } else { 7 };
    let mut random = Random(seed);
    let mut out = String::from(
        "narthex: 1\nlisteners: { main: { address: \"127.0.0.1:0\" } }\nservices: { be: { url: \"http://127.0.0.1:9\" } }\n\
         gateways:\n  main:\n    listeners: [main]\n    routes:\n",
    );
    for number in 0..count {
        let noun = NOUNS[random.below(NOUNS.len() as u64) as usize];
        let method = METHODS[random.below(METHODS.len() as u64) as usize];
        let tail = match random.below(4) {
            0 => String::new(),
            1 => "/{id}".to_owned(),
            2 => format!("/{{id}}/{}", NOUNS[random.below(NOUNS.len() as u64) as usize]),
            _ => "/{rest=**}".to_owned(),
        };
        let version = 1 + random.below(3);
        writeln!(
            out,
            "      r{number}: {{ match: \"{method} /v{version}/s{number:06}/{noun}{tail}\", public: true, to: be }}"
        )?;
    }
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(())
}
