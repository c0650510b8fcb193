//! The orders: list (of one user), read, make, cancel, and a stream of events.

use crate::answer::{Answer, Asked, Refusal, created, events, nothing, problem, value};
use crate::server::Service;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The most that are kept.
const MOST: usize = 1000;

pub(crate) struct Orders {
    all: BTreeMap<u64, Value>,
    next: u64,
}

impl Default for Orders {
    fn default() -> Self {
        let first = json!({ "id": 1, "user": 1, "product": 10, "quantity": 2 });
        Self { all: [(1, first)].into(), next: 2 }
    }
}

impl Service for Orders {
    fn answer(&mut self, asked: &Asked) -> Result<Answer, Refusal> {
        match asked.path() {
            ("GET" | "HEAD", path) if path == ["orders"] => {
                let user = asked.number("user", u64::MAX);
                let orders: Vec<_> = self
                    .all
                    .values()
                    .filter(|order| user.is_none() || order["user"].as_u64() == user)
                    .collect();
                Ok(value(200, &json!({ "orders": orders })))
            }
            ("GET", path) if path == ["orders", "events"] => {
                Ok(events(asked.number("count", 10_000).unwrap_or(10)))
            }
            ("POST", path) if path == ["orders"] => self.make(&asked.object()?),
            ("GET" | "HEAD", path) if path.len() == 2 && path[0] == "orders" => {
                let order = path[1].parse().ok().and_then(|id: u64| self.all.get(&id));
                order.map(|order| value(200, order)).ok_or_else(|| problem(404, "no such order"))
            }
            ("DELETE", path) if path.len() == 2 && path[0] == "orders" => {
                let gone = path[1].parse().ok().and_then(|id: u64| self.all.remove(&id));
                gone.map(|_| nothing()).ok_or_else(|| problem(404, "no such order"))
            }
            _ => Err(problem(404, "the service of orders has no such resource")),
        }
    }
}

impl Orders {
    fn make(&mut self, given: &Value) -> Result<Answer, Refusal> {
        let number = |key: &str| {
            let wrong = || problem(422, &format!("`{key}` is missing, or is no number from 1 on"));
            given[key].as_u64().filter(|number| *number > 0).ok_or_else(wrong)
        };
        let (user, product, quantity) = (number("user")?, number("product")?, number("quantity")?);
        if self.all.len() >= MOST {
            return Err(problem(507, "the demo keeps 1,000 orders"));
        }
        let id = self.next;
        self.next += 1;
        let order = json!({ "id": id, "user": user, "product": product, "quantity": quantity });
        self.all.insert(id, order.clone());
        Ok(created(&format!("/orders/{id}"), &order))
    }
}
