//! The users: list, read, make, delete.

use crate::answer::{Answer, Asked, Refusal, created, nothing, problem, value};
use crate::server::Service;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The most that are kept.
const MOST: usize = 1000;

pub(crate) struct Users {
    all: BTreeMap<u64, Value>,
    next: u64,
}

impl Default for Users {
    fn default() -> Self {
        let all = [(1, "Ada", "ada@example.com"), (2, "Grace", "grace@example.com")];
        let all = all.map(|(id, name, email)| (id, json!({ "id": id, "name": name, "email": email })));
        Self { all: all.into(), next: 3 }
    }
}

impl Service for Users {
    fn answer(&mut self, asked: &Asked) -> Result<Answer, Refusal> {
        match asked.path() {
            ("GET" | "HEAD", path) if path == ["users"] => {
                Ok(value(200, &json!({ "users": self.all.values().collect::<Vec<_>>() })))
            }
            ("POST", path) if path == ["users"] => self.make(&asked.object()?),
            ("GET" | "HEAD", path) if path.len() == 2 && path[0] == "users" => {
                let user = path[1].parse().ok().and_then(|id: u64| self.all.get(&id));
                user.map(|user| value(200, user)).ok_or_else(|| problem(404, "no such user"))
            }
            ("DELETE", path) if path.len() == 2 && path[0] == "users" => {
                let gone = path[1].parse().ok().and_then(|id: u64| self.all.remove(&id));
                gone.map(|_| nothing()).ok_or_else(|| problem(404, "no such user"))
            }
            _ => Err(problem(404, "the service of users has no such resource")),
        }
    }
}

impl Users {
    fn make(&mut self, given: &Value) -> Result<Answer, Refusal> {
        let text = |key: &str| given[key].as_str().map(str::trim).filter(|text| !text.is_empty());
        let name = text("name").ok_or_else(|| problem(422, "`name` is missing"))?;
        let email = text("email").filter(|email| email.contains('@'));
        let email = email.ok_or_else(|| problem(422, "`email` is missing, or is no address"))?;
        if self.all.len() >= MOST {
            return Err(problem(507, "the demo keeps 1,000 users"));
        }
        let id = self.next;
        self.next += 1;
        let user = json!({ "id": id, "name": name, "email": email });
        self.all.insert(id, user.clone());
        Ok(created(&format!("/users/{id}"), &user))
    }
}
