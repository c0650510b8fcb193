//! The catalogue: products that never change, and a download as large as one likes.

use crate::answer::{Answer, Asked, Refusal, download, problem, value};
use crate::server::Service;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The largest download: 1 GiB.
const MOST_BYTES: u64 = 1 << 30;

pub(crate) struct Catalogue {
    all: BTreeMap<u64, Value>,
}

impl Default for Catalogue {
    fn default() -> Self {
        let product =
            |id: u64| (id, json!({ "id": id, "name": format!("Product {id}"), "price": format!("{id}.90") }));
        Self { all: (10..60).map(product).collect() }
    }
}

impl Service for Catalogue {
    fn answer(&mut self, asked: &Asked) -> Result<Answer, Refusal> {
        match asked.path() {
            ("GET" | "HEAD", path) if path == ["products"] => {
                Ok(value(200, &json!({ "products": self.all.values().collect::<Vec<_>>() })))
            }
            ("GET" | "HEAD", path) if path.len() == 2 && path[0] == "products" => {
                let product = path[1].parse().ok().and_then(|id: u64| self.all.get(&id));
                product.map(|product| value(200, product)).ok_or_else(|| problem(404, "no such product"))
            }
            ("GET" | "HEAD", path) if path == ["download"] => {
                Ok(download(asked.number("bytes", MOST_BYTES).unwrap_or(10 * 1024 * 1024)))
            }
            _ => Err(problem(404, "the catalogue has no such resource")),
        }
    }
}
